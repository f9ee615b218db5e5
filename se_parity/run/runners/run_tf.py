"""How a worker runs a network in Keras, on TensorFlow or on the backend that KERAS_BACKEND selects."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from unittest.mock import patch

import keras
import numpy as np
from numpy.typing import NDArray

import se_tf
from se_parity.recipe import Recipe
from se_parity.run.numerics import tf as numerics
from se_parity.run.runners import Batch, LayerOutputs, RunFunction, TrainedStep, find_layers
from se_spec import Architecture
from se_tf import load_weights
from se_tf.families import new_model
from se_tf.network import Network
from se_tf.optimizers import SGD, AdamW
from se_tf.weights import read_gradients
from se_weights import relayout

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
    versions = {"keras": keras.__version__, "backend": keras.backend.backend(), "device": "cpu"}
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.get_visible_devices("GPU")
        versions |= {"tensorflow": tf.__version__, "device": gpus[0].name if gpus else "cpu"}
    return versions


def build(architecture: Architecture, dtype: str) -> Network:
    return new_model(architecture, dtype=dtype)


def _run_function(call: Callable[..., keras.KerasTensor]) -> RunFunction:
    def run(images: NDArray) -> NDArray:
        return array(call(tensor(images), training=False))

    return run


def eager(model: keras.Model) -> RunFunction:
    return _run_function(model)


def graph(model: keras.Model) -> RunFunction:
    import tensorflow as tf

    return _run_function(tf.function(model))


def xla(model: keras.Model) -> RunFunction:
    import tensorflow as tf

    return _run_function(tf.function(model, jit_compile=True))


MODE_FUNCTIONS = {"eager": eager, "graph": graph, "xla": xla, "jax": eager, "torch": eager}


def layer_functions(model: keras.Model, paths: Sequence[str]) -> dict[str, RunFunction]:
    return {path: _run_function(layer) for path, layer in find_layers(model, paths, keras.layers.Layer).items()}


def layer_outputs(model: keras.Model, paths: Sequence[str]) -> LayerOutputs:
    def run(images: NDArray) -> dict[str, NDArray]:
        names = {id(layer): path for path, layer in find_layers(model, paths, keras.layers.Layer).items()}
        outputs: dict[str, NDArray] = {}
        call = keras.layers.Layer.__call__

        def recording_call(self: keras.layers.Layer, *args: object, **kwargs: object) -> keras.KerasTensor:
            output = call(self, *args, **kwargs)
            if id(self) in names:
                outputs.setdefault(names[id(self)], array(output))
            return output

        with patch.object(keras.layers.Layer, "__call__", recording_call):
            eager(model)(images)
        return outputs

    return run


def train(model: Network, recipe: Recipe, batches: Sequence[Batch]) -> Iterator[TrainedStep]:
    """In a graph, as `fit` does. The learning rate is a variable of dtype `floatx`, so that is set to the model's."""
    import tensorflow as tf

    keras.config.set_floatx(model.dtype_policy.variable_dtype)
    rate, decay = recipe.learning_rates[0], recipe.weight_decay
    optimizers: dict[str, Callable[[], keras.optimizers.Optimizer]] = {
        "sgd": lambda: SGD(rate, recipe.momentum, decay),
        "adamw": lambda: AdamW(rate, decay, *recipe.betas, recipe.epsilon),
    }
    optimizer = optimizers[recipe.optimiser]()
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            losses = keras.ops.sparse_categorical_crossentropy(labels, model(images, training=True), from_logits=True)
            loss = keras.ops.mean(losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients)
        return loss, gradients

    for rate, (images, labels) in zip(recipe.learning_rates, batches, strict=True):
        optimizer.learning_rate = rate
        loss, gradients = step(tensor(images), keras.ops.convert_to_tensor(labels))
        yield TrainedStep(float(loss), partial(read_gradients, model, gradients), partial(se_tf.read_weights, model))


def tensor(images: NDArray) -> keras.KerasTensor:
    transposed = relayout(images, "NCHW", "NHWC") if images.ndim == 4 else images
    return keras.ops.convert_to_tensor(transposed, dtype=images.dtype.name)


def array(tensor: keras.KerasTensor) -> NDArray:
    output = np.asarray(keras.ops.convert_to_numpy(tensor))
    return relayout(output, "NHWC", "NCHW") if output.ndim == 4 else output
