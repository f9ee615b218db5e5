"""What a worker does in each framework. One module a framework, the same names in each:

`numerics` is the framework's arithmetic; `environment()` says what ran; `load(architecture, weights, dtype)` returns a
model; `RUNS` maps the name of a mode to a function that turns a model into a function from images (N, C, H, W) to
logits; `modules(model, paths)` gives those of the model's parts that the paths name, each as a function from its input
to its output; `trace(model, paths)` is a function from images to the output of each of them; `train(model, recipe,
batches)` yields what each step of training came to, with the model as the step left it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from numpy.typing import NDArray

Part = TypeVar("Part")

RunFunction = Callable[[NDArray], NDArray]


@dataclass(frozen=True, eq=False)
class TrainedStep:
    """What one step of training came to: the loss, and the gradients and the weights after it by canonical name."""

    loss: float
    gradients: dict[str, NDArray]
    weights: dict[str, NDArray]


Batch = tuple[NDArray, NDArray]
"""Images (N, C, H, W) and labels (N)."""

Trace = Callable[[NDArray], dict[str, NDArray]]

RUNNERS = {
    "torch": "se_parity.run.runners.run_torch",
    "tf": "se_parity.run.runners.run_tf",
    "flax": "se_parity.run.runners.run_flax",
}


class ModeMissing(Exception):
    """The interpreter lacks what a mode needs."""


def part(model: object, path: str) -> Callable[..., object] | None:
    """The part of a model that a canonical path names: an attribute a word, an element a number; None without one."""
    found: Any = model
    for word in path.split("."):
        try:
            found = found[int(word)] if word.isdigit() else getattr(found, word)
        except (AttributeError, IndexError, TypeError):
            return None
    return found if callable(found) else None


def parts_of(model: object, paths: Sequence[str], kind: type[Part]) -> dict[str, Part]:
    """Those parts of the model that canonical paths name, as far as they are of that kind."""
    found = {path: part(model, path) for path in paths}
    return {path: one for path, one in found.items() if isinstance(one, kind)}
