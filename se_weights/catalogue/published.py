"""Published networks by the tensors that they have, from `published.tsv`.

Networks with the same tensors may compute different functions: an anti-aliased ResNet, one whose first 1x1 convolution
strides, one whose pool rounds up. The table has a row for each published file, with its address, the beginning of its
hash and its preprocessing, and for each network that a code base only has a name for.
`python -m parity_tests.peers.update_published` writes the table from the registries of the code bases.
"""

import csv
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from se_spec import Architecture, ArchitectureError, config_differences, manifest
from se_weights.catalogue.cells import decode, decode_preprocessing
from se_weights.dialects import DIALECTS, Dialect, Place
from se_weights.preprocessing import Preprocessing

TABLE = Path(__file__).with_name("published.tsv")
COLUMNS = (
    *("tensors", "source", "name", "tag", "default", "dialect", "architecture", "hash_algorithm", "digits"),
    *("repository", "url", "preprocessing", "licence", "accuracy"),
)

HASH_IN_NAME = re.compile(r"(?<![0-9a-f])[0-9a-f]{8,64}(?![0-9a-f])")
"""What code bases write into the names of their files: the first digits of the hash."""


@dataclass(frozen=True)
class PublishedFile:
    """A published file, or a network without one.

    Attributes:
        tensors: A key of the names and shapes of its tensors (`tensors_key`).
        source: The code base.
        name: The name of the network in the code base.
        tag: The name of the weights; empty if none are published.
        default: Whether these are the weights that the code base takes where none are named.
        dialect: The dialect of the names in the file.
        architecture: The architecture with these tensors.
        hash_algorithm: "sha256", "sha1" or "md5", or empty if no hash is published.
        digits: The first digits of the hash of the file at `url`, or all; in an archive, of the weights file in it.
        repository: The repository on Hugging Face's hub, with "@" and a revision where one is pinned, or empty.
        url: The address on another host, or empty.
        preprocessing: The preprocessing with which the code base evaluates the network, or None if it is not known.
        licence: What the code base says of the licence of the weights.
        accuracy: The published top-1 accuracy on the data that the tag names, in percent, or empty.
    """

    tensors: str
    source: str
    name: str
    tag: str
    default: bool
    dialect: str
    architecture: Architecture
    hash_algorithm: str
    digits: str
    repository: str
    url: str
    preprocessing: Preprocessing | None
    licence: str
    accuracy: str

    @property
    def name_and_tag(self) -> str:
        """The network and the weights, as in "seresnet50.a1_in1k"."""
        return f"{self.name}.{self.tag}" if self.tag else self.name

    @property
    def full_name(self) -> str:
        """The code base, the network and the weights, as in "timm seresnet50.a1_in1k"."""
        return f"{self.source} {self.name_and_tag}"

    def config_differences(self, other: Architecture) -> dict[str, object]:
        """The settings, by their dotted names, in which the network differs from an architecture.

        Args:
            other: The architecture; names, classes and image channels are not compared.
        """
        differences = config_differences(_without_ends(other), _without_ends(self.architecture))
        return {setting: value for setting, (_, value) in differences.items()}

    @property
    def function(self) -> object:
        """A key of the function that the network computes, classes and image channels aside."""
        return _function(self.architecture)

    def computes(self, other: Architecture) -> bool:
        """Whether the network computes the same function as an architecture, classes and image channels aside."""
        return self.function == _function(other)

    def has(self, settings: Mapping[str, object]) -> bool:
        """Whether the network has these values of settings, by their dotted names."""
        try:
            return self.architecture.with_settings(settings) == self.architecture
        except ArchitectureError:
            return False

    def is_named_in(self, file_name: str) -> bool:
        """Whether a file name has the digits of this file's hash."""
        found = HASH_IN_NAME.findall(file_name)
        return bool(self.hash_algorithm) and any(self.digits.startswith(each[: len(self.digits)]) for each in found)


def with_tensors_of(network: Architecture, dialect: Dialect) -> list[PublishedFile]:
    """The published files, and the networks without files, that have the tensors of a network.

    Args:
        network: The network; the number of its classes and of its image channels does not matter.
        dialect: The dialect of the tensors. In one of our own, the weights may come from any code base; in another,
            they have its names.
    """
    rows = _rows().get(tensors_key(network), [])
    ours = dialect.is_only_ours(network)
    places = [] if ours else _places(network, dialect)
    same = {(row["dialect"], row["architecture"]) for row in rows}  # many files are of one network
    same = {key for key in same if ours or _places(decode(key[1]), DIALECTS[key[0]]) == places}
    return [
        _parse(row)
        for row in rows
        if (row["dialect"], row["architecture"]) in same
        and (decode(row["architecture"]).num_classes or not network.num_classes)  # a backbone has no classifier
    ]


def tensors_key(network: Architecture) -> str:
    """A key of the names and shapes of a network's parameters, apart from classes and image channels."""
    parameters = manifest(_without_ends(network))
    return hashlib.sha256("\n".join(f"{each.name} {each.shape}" for each in parameters).encode()).hexdigest()[:12]


def _without_ends(network: Architecture) -> Architecture:
    return network.replace(num_classes=0, in_channels=3)


def _function(network: Architecture) -> tuple[object, ...]:
    return _without_ends(network).function_key()


def _places(network: Architecture, dialect: Dialect) -> list[Place]:
    return list(dialect.places(_without_ends(network)).values())


def _parse(row: dict[str, str]) -> PublishedFile:
    plain = (
        "tensors",
        "source",
        "name",
        "tag",
        "dialect",
        "hash_algorithm",
        "digits",
        "repository",
        "url",
        "licence",
        "accuracy",
    )
    network = decode(row["architecture"])
    return PublishedFile(
        **{key: row[key] for key in plain},
        default=row["default"] == "yes",
        architecture=network,
        preprocessing=decode_preprocessing(row["preprocessing"], network.num_classes),
    )


def all_files() -> Iterator[PublishedFile]:
    """Every row of the table."""
    for rows in _rows().values():
        yield from map(_parse, rows)


@cache
def _rows() -> dict[str, list[dict[str, str]]]:
    """The rows of the table by the key of their tensors."""
    rows: dict[str, list[dict[str, str]]] = {}
    with TABLE.open(encoding="utf-8") as table:
        for row in csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE):
            rows.setdefault(row["tensors"], []).append(row)
    return rows


def file_hash(path: Path, algorithm: str) -> str:
    """The hash of a file's content in hexadecimal.

    Args:
        path: The file.
        algorithm: The name of the algorithm, as `hashlib` has it.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
