"""The named architectures: a table, and the two functions that read it."""

from dataclasses import fields, replace
from typing import Any

from se_spec.architecture import Architecture, ArchitectureError, nearest, refuse_unknown_facts

_IMAGENET = {  # paper, table 1; Deep Residual Learning, table 1
    "18": ("basic", (2, 2, 2, 2)),
    "34": ("basic", (3, 4, 6, 3)),
    "50": ("bottleneck", (3, 4, 6, 3)),
    "101": ("bottleneck", (3, 4, 23, 3)),
    "152": ("bottleneck", (3, 8, 36, 3)),
}
_CIFAR = {"20": 3, "56": 9, "110": 18}  # Deep Residual Learning, section 4.2: 6n + 2 layers, n blocks a stage

_NAMED = {
    known.name: known
    for known in (
        *(Architecture(f"se_resnet{depth}", block, depths) for depth, (block, depths) in _IMAGENET.items()),
        *(Architecture(f"resnet{depth}", block, depths, se=False) for depth, (block, depths) in _IMAGENET.items()),
        *(
            Architecture(f"se_resnet{depth}_cifar", "basic", (n, n, n), (16, 32, 64), stem="3x3", num_classes=10)
            for depth, n in _CIFAR.items()
        ),
    )
}


def list_architectures() -> list[str]:
    """The names that `architecture` knows."""
    return list(_NAMED)


def architecture(name: str, **facts: Any) -> Architecture:
    """The named architecture with the given facts in place of its own.

    `architecture("se_resnet34", stem="3x3", num_classes=10)` is the CIFAR-style SE-ResNet of the tutorials.
    Raises ArchitectureError, in a sentence that names the fact, for an unknown name or an impossible fact.
    """
    if name not in _NAMED:
        raise ArchitectureError(f"there is no architecture {name!r}{nearest(str(name), list(_NAMED))}")
    refuse_unknown_facts(facts, [field.name for field in fields(Architecture) if field.name != "name"])
    return replace(_NAMED[name], **facts)
