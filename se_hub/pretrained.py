"""Finds published weights by the name of their network and of the weights."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from se_hub.errors import UnknownWeights
from se_spec import list_architectures
from se_weights.catalogue import PublishedFile
from se_weights.catalogue.published import all_files

SOURCES = ("timm", "torchvision", "pretrainedmodels", "mmpretrain", "pytorchcv", "qubvel", "moskomule")
"""The code bases in the order in which their weights are preferred; those of others are taken only where named."""


def pretrained_files(pattern: str = "*") -> list[PublishedFile]:
    """The published files that can be fetched, in the order of the names of their networks.

    Args:
        pattern: A shell pattern for the name of the network here, such as "se_resnet*", or for the name in the code
            base, with or without its tag.
    """
    files = [
        row
        for row in all_files()
        if is_fetchable(row)
        and any(fnmatchcase(name, pattern) for name in (row.architecture.name, row.name, row.name_and_tag))
    ]
    return sorted(files, key=lambda row: (row.architecture.name, *_preference(row), row.name, row.tag))


def find_pretrained(name: str, weights: bool | str = True) -> PublishedFile:
    """The published file of a network.

    Args:
        name: The name of a network here, such as "se_resnet50".
        weights: The name of the weights: "a1_in1k", or "timm/seresnet50.a1_in1k" where several code bases have weights
            of that name; True for the default ones of the code base that is preferred.

    Raises:
        UnknownWeights: There are no such weights, or several; lists those that there are.
    """
    files = [row for row in pretrained_files() if row.architecture.name == name]
    if not files:
        raise UnknownWeights(f"no code base publishes weights of {name!r} here: see `se-resnet list --pretrained`")
    if weights is True and name not in list_architectures():
        raise UnknownWeights(
            f"{len(files)} published files have networks without a name here: name the weights as `se-resnet list "
            f"--pretrained {name}` does"
        )
    if weights is True:
        preferred = [row for row in files if row.source in SOURCES and row.architecture.num_classes] or files
        return min(preferred, key=_preference)
    found = [row for row in files if weights in (row.tag, row.name_and_tag, identity(row))]
    if len(found) != 1:
        what = "has no weights" if not found else "has several weights"
        raise UnknownWeights(f"{name} {what} {weights!r}; there are {_listed(found or files)}")
    return found[0]


def identity(row: PublishedFile) -> str:
    """The code base, the network and the weights as one name, such as "timm/seresnet50.a1_in1k"."""
    return f"{row.source}/{row.name_and_tag}"


def is_fetchable(row: PublishedFile) -> bool:
    """Whether what is downloaded can be checked: the hub says the hash of a file, elsewhere the catalogue must."""
    return bool(row.repository) or (bool(row.url) and bool(row.digits))


def _preference(row: PublishedFile) -> tuple[int, bool, bool]:
    """A key that is smallest for the file that is preferred: by its code base, as its default, on the hub."""
    source = SOURCES.index(row.source) if row.source in SOURCES else len(SOURCES)
    return source, not row.default, not row.repository


def _listed(rows: Iterable[PublishedFile]) -> str:
    return ", ".join(map(identity, rows))
