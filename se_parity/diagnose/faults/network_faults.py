"""Known faults of the whole network: another architecture, swapped weights, or other images."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from numpy.typing import NDArray

from se_parity.case import Case
from se_spec import Architecture, ArchitectureError


@dataclass(frozen=True)
class NetworkFault:
    """A fault by name, and the case as a network with the fault would run it.

    Attributes:
        name: the name in explanations.
        case: returns the changed case, or None where the network cannot have the fault.
    """

    name: str
    case: Callable[[Case], Case | None]


def _case_with(change: Callable[[Architecture], Architecture], case: Case) -> Case | None:
    try:
        changed = change(case.architecture)
    except ArchitectureError:
        return None
    return None if changed.function_key() == case.architecture.function_key() else replace(case, architecture=changed)


def _with_config(**config: object) -> Callable[[Case], Case | None]:
    return partial(_case_with, lambda architecture: architecture.replace(**config))


def _with_images(change: Callable[[NDArray], NDArray]) -> Callable[[Case], Case | None]:
    return lambda case: replace(case, images=change(case.images))


def _swapped_neighbours(case: Case) -> Case | None:
    """Swap the weights of the last two blocks in every stage of three or more blocks, where their shapes are equal."""
    weights = dict(case.weights)
    stages: dict[str, list[str]] = {}
    for module in case.architecture.graph.module_inputs:
        stage, _, index = module.rpartition(".")
        if stage and index.isdigit():
            stages.setdefault(stage, []).append(module)
    for blocks in stages.values():
        if len(blocks) > 2:
            first, second = (f"{block}." for block in blocks[-2:])
            for name in [name for name in weights if name.startswith(first)]:
                twin = name.replace(first, second)
                weights[name], weights[twin] = weights[twin], weights[name]
    changed = any(weights[name] is not case.weights[name] for name in weights)
    return replace(case, weights=weights) if changed else None


NETWORK_FAULTS = (
    NetworkFault("the stride in the first 1x1", _with_config(stride_in="conv1")),
    NetworkFault("the stride in the 3x3", _with_config(stride_in="conv2")),
    *(
        NetworkFault(f"the max-pool aligned as {pool!r}", _with_config(stem={"pool": pool}))
        for pool in ("pad1", "ceil", "same")
    ),
    NetworkFault("a ReLU before every squeeze", _with_config(squeeze={"after_relu": True})),
    NetworkFault("no ReLU before any squeeze", _with_config(squeeze={"after_relu": False})),
    NetworkFault("shortcuts that average", _with_config(shortcut={"averages": True})),
    NetworkFault("shortcuts that do not average", _with_config(shortcut={"averages": False})),
    NetworkFault("strides without anti-aliasing", _with_config(antialias="none")),
    NetworkFault("a mean that strides", _with_config(antialias="mean")),
    NetworkFault("a blur that strides", _with_config(antialias="blur")),
    NetworkFault("new features before the others", _with_config(new_first=True)),
    NetworkFault("new features after the others", _with_config(new_first=False)),
    NetworkFault("an odd last row averaged in the transitions", _with_config(transition_pool="ceil")),
    NetworkFault("an odd last row left out in the transitions", _with_config(transition_pool="floor")),
    NetworkFault("no ReLU after the last norm", _with_config(final_relu=False)),
    NetworkFault("a ReLU after the last norm", _with_config(final_relu=True)),
    NetworkFault("channels reversed (BGR)", _with_images(lambda images: images[:, ::-1])),
    NetworkFault("images mirrored", _with_images(lambda images: images[..., ::-1])),
    NetworkFault("images upside down", _with_images(lambda images: images[..., ::-1, :])),
    NetworkFault("rows and columns of the images swapped", _with_images(lambda images: images.swapaxes(2, 3))),
    NetworkFault("images 255 times too large", _with_images(lambda images: images * 255)),
    NetworkFault("images 255 times too small", _with_images(lambda images: images / 255)),
    NetworkFault("neighbouring blocks swapped", _swapped_neighbours),
)
