"""The faults of the whole network that ports are known to have: it is another network, or sees other images."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from numpy.typing import NDArray

from se_parity.case import Case
from se_spec import Architecture, ArchitectureError


@dataclass(frozen=True)
class NetworkFault:
    """`case` is the case that a network with the fault runs, or None where it cannot have it."""

    name: str
    case: Callable[[Case], Case | None]


def _case_with(change: Callable[[Architecture], Architecture], case: Case) -> Case | None:
    try:
        changed = change(case.architecture)
    except ArchitectureError:
        return None
    return None if changed.function_key() == case.architecture.function_key() else replace(case, architecture=changed)


def _fact(**facts: object) -> Callable[[Case], Case | None]:
    return partial(_case_with, lambda architecture: architecture.replace(**facts))


def _images(change: Callable[[NDArray], NDArray]) -> Callable[[Case], Case | None]:
    return lambda case: replace(case, images=change(case.images))


def _neighbours(case: Case) -> Case | None:
    """The weights of the last two blocks of every stage that has equal ones, swapped."""
    weights = dict(case.weights)
    for number in range(1, len(case.architecture.depths) + 1):
        blocks = case.architecture.stage(number)
        if len(blocks) > 2:
            one, other = (f"{block.name}." for block in blocks[-2:])
            for name in [name for name in weights if name.startswith(one)]:
                twin = name.replace(one, other)
                weights[name], weights[twin] = weights[twin], weights[name]
    changed = any(weights[name] is not case.weights[name] for name in weights)
    return replace(case, weights=weights) if changed else None


NETWORK_FAULTS = (
    NetworkFault("the stride in the first 1x1", _fact(stride_in="conv1")),
    NetworkFault("the stride in the 3x3", _fact(stride_in="conv2")),
    *(
        NetworkFault(f"the max-pool aligned as {pool!r}", _fact(stem={"pool": pool}))
        for pool in ("pad1", "ceil", "same")
    ),
    NetworkFault("a ReLU before every squeeze", _fact(squeeze={"after_relu": True})),
    NetworkFault("no ReLU before any squeeze", _fact(squeeze={"after_relu": False})),
    NetworkFault("shortcuts that average", _fact(shortcut={"averages": True})),
    NetworkFault("shortcuts that do not average", _fact(shortcut={"averages": False})),
    NetworkFault("channels reversed (BGR)", _images(lambda images: images[:, ::-1])),
    NetworkFault("images mirrored", _images(lambda images: images[..., ::-1])),
    NetworkFault("images upside down", _images(lambda images: images[..., ::-1, :])),
    NetworkFault("rows and columns of the images swapped", _images(lambda images: images.swapaxes(2, 3))),
    NetworkFault("images 255 times too large", _images(lambda images: images * 255)),
    NetworkFault("images 255 times too small", _images(lambda images: images / 255)),
    NetworkFault("neighbouring blocks swapped", _neighbours),
)
