"""How a worker runs a network in Flax NNX."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any
from unittest.mock import patch

import flax
import jax
import numpy as np
import optax
from flax import nnx
from numpy.typing import NDArray

import se_flax
from se_flax import load_weights, optimizers
from se_flax.families import new_model
from se_flax.network import Network
from se_flax.weights import empty_model, read_gradients, weight_dtype
from se_parity.recipe import Recipe
from se_parity.run.numerics import flax as numerics
from se_parity.run.runners import Batch, LayerOutputs, RunFunction, TrainedStep, find_layers
from se_spec import Architecture
from se_weights import relayout
from se_weights.dialects import LINEN

__all__ = [
    "MODE_FUNCTIONS",
    "build",
    "environment",
    "layer_functions",
    "layer_outputs",
    "load_weights",
    "numerics",
    "train",
]


def environment() -> dict[str, str]:
    device = jax.config.jax_default_device
    return {"jax": jax.__version__, "flax": flax.__version__, "device": device.device_kind}


def build(architecture: Architecture, dtype: str) -> Network:
    """float64 needs JAX's 64-bit types, which are off by default; they stay on for the runs of this model.

    The programs compiled for the model before, hundreds of them where it ran eagerly, are dropped."""
    jax.clear_caches()
    jax.config.update("jax_enable_x64", dtype == "float64")
    model = empty_model(architecture, param_dtype=dtype)
    model.eval()
    return model


def _run_function(model: nnx.Module, call: Callable[[nnx.Module, jax.Array], jax.Array]) -> RunFunction:
    def run(images: NDArray) -> NDArray:
        return array(call(model, tensor(images)))

    return run


def eager(model: nnx.Module) -> RunFunction:
    return _run_function(model, lambda model, images: model(images))


def jit(model: nnx.Module) -> RunFunction:
    return _run_function(model, nnx.jit(lambda model, images: model(images)))


def evaluation_model(architecture: Architecture, **options: Any) -> Network:
    """A network in evaluation mode: Linen constructs its module at every call.

    Args:
        architecture: the configuration of the network.
        **options: further arguments of the network's class.
    """
    model = new_model(architecture, **options)
    model.eval()
    return model


def linen(model: Network) -> RunFunction:
    """Run the same class as a Linen module, with the variables that a Linen training script would have."""
    dtype = weight_dtype(model)
    module = nnx.bridge.to_linen(evaluation_model, model.architecture, param_dtype=dtype)
    apply = jax.jit(module.apply)

    def call(model: Network, images: jax.Array) -> jax.Array:
        weights = se_flax.read_weights(model)
        leaves = {
            tuple(int(key) if key.isdigit() else key for key in place.names[0].split("/")): jax.numpy.asarray(
                relayout(weights[parameter.name], parameter.axes, place.axes), dtype
            )
            for parameter, place in LINEN.places(model.architecture).items()
        }
        return apply(nnx.traversals.unflatten_mapping(leaves), images)

    return _run_function(model, call)


MODE_FUNCTIONS = {"eager": eager, "jit": jit, "linen": linen}


def layer_functions(model: Network, paths: Sequence[str]) -> dict[str, RunFunction]:
    return {path: eager(layer) for path, layer in find_layers(model, paths, nnx.Module).items()}


def layer_outputs(model: Network, paths: Sequence[str]) -> LayerOutputs:
    def run(images: NDArray) -> dict[str, NDArray]:
        layers = find_layers(model, paths, nnx.Module)
        names = {id(layer): path for path, layer in layers.items()}
        outputs: dict[str, NDArray] = {}

        def recording(call: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
            def recording_call(self: nnx.Module, *args: Any, **kwargs: Any) -> jax.Array:
                output = call(self, *args, **kwargs)
                if id(self) in names:
                    outputs.setdefault(names[id(self)], array(output))
                return output

            return recording_call

        with ExitStack() as stack:
            for kind in {type(layer) for layer in layers.values()}:
                stack.enter_context(patch.object(kind, "__call__", recording(kind.__call__)))
            eager(model)(images)
        return outputs

    return run


def train(model: Network, recipe: Recipe, batches: Sequence[Batch]) -> Iterator[TrainedStep]:
    """In one compiled step, as NNX training scripts do."""
    rates = jax.numpy.asarray(recipe.learning_rates)
    transforms: dict[str, Callable[[], optax.GradientTransformation]] = {
        "sgd": lambda: optimizers.sgd(lambda count: rates[count], recipe.momentum, recipe.weight_decay),
        "adamw": lambda: optimizers.adamw(
            lambda count: rates[count], recipe.betas, recipe.epsilon, recipe.weight_decay
        ),
    }
    optimizer = nnx.Optimizer(model, transforms[recipe.optimiser](), wrt=nnx.Param)

    def mean_loss(model: Network, images: jax.Array, labels: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()

    @partial(nnx.jit, donate_argnames=("model", "optimizer"))
    def step(
        model: Network, optimizer: nnx.Optimizer, images: jax.Array, labels: jax.Array
    ) -> tuple[jax.Array, nnx.State]:
        loss, gradients = nnx.value_and_grad(mean_loss)(model, images, labels)
        optimizer.update(model, gradients)
        return loss, gradients

    model.train()
    for images, labels in batches:
        loss, gradients = step(model, optimizer, tensor(images), jax.numpy.asarray(labels))
        yield TrainedStep(float(loss), partial(read_gradients, model, gradients), partial(se_flax.read_weights, model))
    model.eval()


def tensor(images: NDArray) -> jax.Array:
    return jax.numpy.asarray(relayout(images, "NCHW", "NHWC") if images.ndim == 4 else images)


def array(output: jax.Array) -> NDArray:
    return relayout(np.asarray(output), "NHWC", "NCHW") if output.ndim == 4 else np.asarray(output)
