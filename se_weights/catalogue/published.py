"""Published networks by the tensors that they have, from `published.tsv`.

Networks with the same tensors may compute different functions: an anti-aliased ResNet, one whose first 1x1 convolution
strides, one whose pool rounds up. The table has a row for each published file, with the beginning of its hash, and for
each network that a code base only has a name for.
"""

import csv
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from se_spec import Architecture, ArchitectureError, architecture, config_differences, list_architectures, manifest
from se_weights.dialects import DIALECTS, Dialect, Place

TABLE = Path(__file__).with_name("published.tsv")

HASH_IN_NAME = re.compile(r"(?<![0-9a-f])[0-9a-f]{8,64}(?![0-9a-f])")
"""What code bases write into the names of their files: the first digits of the hash."""


@dataclass(frozen=True)
class PublishedFile:
    """A published file, or a network without one.

    Attributes:
        source: The code base.
        name: The name of the network in the code base.
        tag: The name of the weights; empty if none are published.
        dialect: The dialect of the names in the file.
        architecture: The architecture with these tensors.
        hash_algorithm: "sha256", "sha1" or "md5", or empty if no hash is published.
        digits: The first digits of the hash, or all.
    """

    source: str
    name: str
    tag: str
    dialect: str
    architecture: Architecture
    hash_algorithm: str
    digits: str

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
    places = _places(network, dialect)
    ours = dialect.is_only_ours(network)
    return [
        row
        for row in map(_parse, rows)
        if (ours or _places(row.architecture, DIALECTS[row.dialect]) == places)
        and (row.architecture.num_classes or not network.num_classes)  # a backbone is published without its classifier
    ]


def tensors_key(network: Architecture) -> str:
    """A key of the names and shapes of a network's parameters, apart from classes and image channels."""
    parameters = manifest(_without_ends(network))
    return hashlib.sha256("\n".join(f"{each.name} {each.shape}" for each in parameters).encode()).hexdigest()[:12]


def encode(network: Architecture) -> str:
    """An architecture as a cell of the table: the name, and the fields in which it differs from the named one."""
    named = architecture(network.name).to_dict() if network.name in list_architectures() else {"name": network.name}
    fields = {name: value for name, value in network.to_dict().items() if value != named.get(name)}
    return f"{network.name} {json.dumps(fields, separators=(',', ':'))}"


def decode(cell: str) -> Architecture:
    """The architecture of a cell of the table."""
    name, _, text = cell.partition(" ")
    fields = json.loads(text)
    if name not in list_architectures():
        return Architecture.from_dict({"name": name, **fields})
    return Architecture.from_dict({**architecture(name).to_dict(), **fields})


def _without_ends(network: Architecture) -> Architecture:
    return network.replace(num_classes=0, in_channels=3)


def _function(network: Architecture) -> tuple[object, ...]:
    return _without_ends(network).function_key()


def _places(network: Architecture, dialect: Dialect) -> list[Place]:
    return list(dialect.places(_without_ends(network)).values())


def _parse(row: dict[str, str]) -> PublishedFile:
    known = {key: row[key] for key in ("source", "name", "tag", "dialect", "hash_algorithm", "digits")}
    return PublishedFile(**known, architecture=decode(row["architecture"]))


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
