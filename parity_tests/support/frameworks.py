"""One interface to the three frameworks in this process. Arrays outside of it are (N, C, spatial...)."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@dataclass(frozen=True)
class Framework:
    """How a framework is called.

    Attributes:
        name: As in the package `se_{name}`.
        channel_axis: Axis of the channels in an image of the framework.
        call: Calls a module on an array in the layout of the framework, in training mode or not.
        options: Makes the further arguments of the constructors.
    """

    name: str
    channel_axis: int
    call: Callable[[Any, NDArray, bool], NDArray]
    options: Callable[[], dict[str, Any]] = dict

    @property
    def package(self) -> Any:
        return import_module(f"se_{self.name}")

    @property
    def layers(self) -> Any:
        return import_module(f"se_{self.name}.layers")

    def run(self, module: Any, x: NDArray, *, training: bool = False) -> NDArray:
        """Call a module on an array (N, C, spatial...); the output has the same layout, or is (N, classes)."""
        y = self.call(module, np.moveaxis(x, 1, self.channel_axis), training)
        return y if y.ndim == 2 else np.moveaxis(y, self.channel_axis, 1)


def _call_torch(module: Any, x: NDArray, training: bool) -> NDArray:
    import torch

    module.train(training)
    with torch.no_grad():
        return module(torch.tensor(x)).numpy()


def _call_tf(module: Any, x: NDArray, training: bool) -> NDArray:
    import keras

    context = {"training": training} if module._call_has_training_arg else {}
    return keras.ops.convert_to_numpy(module(keras.ops.convert_to_tensor(x), **context))


def _call_flax(module: Any, x: NDArray, training: bool) -> NDArray:
    import jax.numpy as jnp

    if hasattr(module, "train"):
        module.train() if training else module.eval()
    return np.asarray(module(jnp.asarray(x)))


def flax_rngs() -> Any:
    """Random numbers for NNX from a generator that XLA compiles in 0.3 s; JAX's own takes 0.5 to 25 s a shape here."""
    import jax
    from flax import nnx

    return nnx.Rngs(jax.random.key(0, impl="rbg"))


FRAMEWORKS = {
    framework.name: framework
    for framework in (
        Framework("torch", 1, _call_torch),
        Framework("tf", -1, _call_tf),
        Framework("flax", -1, _call_flax, lambda: {"rngs": flax_rngs()}),
    )
}
