"""How a worker runs a network in each framework. There is one module a framework, with the same names in each:

numerics                          the framework's module in se_parity.run.numerics
environment()                     the versions and the device, as text by name
build(architecture, dtype)        a model in evaluation mode, without weights
load_weights(model, weights)      copies weights into it; functions that were made of the model then use those
MODE_FUNCTIONS                    by name of a mode, a function that turns a model into a RunFunction to logits
layer_functions(model, paths)     the layers of the model that the canonical paths name, each as a RunFunction
layer_outputs(model, paths)       a function from images to the outputs of those layers as the network runs; of a layer
                                  that is used more than once, the first output
train(model, recipe, batches)     yields a TrainedStep after every step; the model has then been updated

Args:
    architecture: the network.
    weights: arrays by canonical name, with canonical axes.
    dtype: of the model's parameters: "float64", "float32" or "bfloat16".
    model: a network that `build` returned.
    paths: canonical paths, such as "layer1.0.conv2"; those that are not a layer of the model are left out.
    recipe: the optimiser and its settings.
    batches: images (N, C, H, W) and labels (N) for each step.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Layer = TypeVar("Layer")

RunFunction = Callable[[NDArray], NDArray]
"""From images or activations (N, C, H, W) or (N, C) to outputs with the same order of axes."""

LayerOutputs = Callable[[NDArray], dict[str, NDArray]]
"""From images (N, C, H, W) to the outputs (N, C, H, W) or (N, C) of layers by canonical path."""

Batch = tuple[NDArray, NDArray]
"""Images (N, C, H, W) and labels (N)."""

RUNNERS = {
    "torch": "se_parity.run.runners.run_torch",
    "tf": "se_parity.run.runners.run_tf",
    "flax": "se_parity.run.runners.run_flax",
}


@dataclass(frozen=True, eq=False)
class TrainedStep:
    """The results of one training step.

    Attributes:
        loss: of the step's batch.
        gradients: copies them, by canonical name, until the next step.
        weights: copies those after the step, by canonical name, until the next step.
    """

    loss: float
    gradients: Callable[[], Mapping[str, NDArray]]
    weights: Callable[[], Mapping[str, NDArray]]

    def results(self, step: int, *, tensors: bool) -> Iterator[dict[str, NDArray]]:
        """Name the results of the step for comparison.

        Args:
            step: counted from 1.
            tensors: whether to include gradients and weights; if not, the loss alone.

        Yields:
            `STEP/loss`, then each `STEP/gradient/NAME`, then each `STEP/weight/NAME`; all may take gigabytes.
        """
        yield {f"{step}/loss": np.array(self.loss)}
        if tensors:
            yield {f"{step}/gradient/{name}": array for name, array in self.gradients().items()}
            yield {f"{step}/weight/{name}": array for name, array in self.weights().items()}


class ModeMissing(Exception):
    """The interpreter lacks a package that a mode needs."""


def find_layers(model: object, paths: Sequence[str], kind: type[Layer]) -> dict[str, Layer]:
    """The layers of a model that canonical paths name; paths without a layer of that kind are left out.

    Args:
        model: a network of the framework.
        paths: canonical paths, such as "layer1.0.bn1".
        kind: the framework's class of layers.
    """
    layers = {path: _attribute(model, path) for path in paths}
    return {path: layer for path, layer in layers.items() if isinstance(layer, kind)}


def _attribute(model: object, path: str) -> Any:
    """Follow a path such as "layer1.0.bn1" through attributes and, for numbers, elements; None where it ends."""
    value: Any = model
    for key in path.split("."):
        try:
            value = value[int(key)] if key.isdigit() else getattr(value, key)
        except (AttributeError, IndexError, TypeError):
            return None
    return value if callable(value) else None
