"""Infers the family and the architecture of tensors in a dialect from their names and shapes, one file a family."""

from collections.abc import Collection, Iterator

from se_spec import Architecture
from se_weights.dialects import Dialect
from se_weights.families.family import UNNAMED, Family, Shapes
from se_weights.families.se_densenet import SE_DENSENET
from se_weights.families.se_resnet import SE_RESNET

FAMILIES: dict[str, Family] = {family.name: family for family in (SE_RESNET, SE_DENSENET)}
"""All families by the names that their architectures have."""

__all__ = ["FAMILIES", "UNNAMED", "Shapes", "infer_architectures", "network_prefixes"]


def infer_architectures(shapes: Shapes, dialect: Dialect) -> Iterator[Architecture]:
    """Infer the architecture of tensors from names and shapes.

    Args:
        shapes: The shapes of the tensors by their name in the file.
        dialect: The dialect of these names.

    Yields:
        Candidates of every family of which the dialect has networks; the caller compares them with the manifest.
    """
    for family in dialect.tables:
        yield from FAMILIES[family].infer(shapes, dialect)


def network_prefixes(names: Collection[str], dialect: Dialect) -> Iterator[str]:
    """Find where a network may begin inside a larger model.

    Args:
        names: The names of the larger model's tensors.
        dialect: The dialect of the network's names.

    Yields:
        Prefixes, ending with "." or "/", under which both a stem and a first block have their names.
    """
    for family in (FAMILIES[name] for name in dialect.tables):
        for initial in family.initial_architectures(dialect):
            stem, first_block = (dialect.place(parameter, initial).names[0] for parameter in family.first_layers)
            for name in names:
                prefix = name.removesuffix(stem)
                if prefix.endswith((".", "/")) and prefix != name and prefix + first_block in names:
                    yield prefix
