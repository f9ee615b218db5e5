"""A worker's work in Keras, on TensorFlow unless KERAS_BACKEND says otherwise."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from unittest.mock import patch

import keras
import numpy as np
from numpy.typing import NDArray

import se_tf
from se_parity.recipe import Recipe
from se_parity.run.numerics import tf as numerics
from se_parity.run.runners import Batch, RunFunction, Trace, TrainedStep, parts_of
from se_spec import Architecture
from se_tf.optimizers import SGD, AdamW
from se_tf.weights import read_gradients
from se_weights import relayout

__all__ = ["RUNS", "environment", "load", "modules", "numerics", "trace", "train"]


def environment() -> dict[str, str]:
    facts = {"keras": keras.__version__, "backend": keras.backend.backend(), "device": "cpu"}
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.get_visible_devices("GPU")
        facts |= {"tensorflow": tf.__version__, "device": gpus[0].name if gpus else "cpu"}
    return facts


def load(architecture: Architecture, weights: Mapping[str, NDArray], dtype: str) -> se_tf.SEResNet:
    model = se_tf.SEResNet(architecture, dtype=dtype)
    se_tf.load_weights(model, weights)
    return model


def _runs(call: Callable[..., keras.KerasTensor]) -> RunFunction:
    def run(images: NDArray) -> NDArray:
        return array(call(tensor(images), training=False))

    return run


def eager(model: keras.Model) -> RunFunction:
    return _runs(model)


def graph(model: keras.Model) -> RunFunction:
    import tensorflow as tf

    return _runs(tf.function(model))


def xla(model: keras.Model) -> RunFunction:
    import tensorflow as tf

    return _runs(tf.function(model, jit_compile=True))


RUNS = {"eager": eager, "graph": graph, "xla": xla, "jax": eager, "torch": eager}


def modules(model: keras.Model, paths: Sequence[str]) -> dict[str, RunFunction]:
    return {path: _runs(layer) for path, layer in parts_of(model, paths, keras.layers.Layer).items()}


def trace(model: keras.Model, paths: Sequence[str]) -> Trace:
    def run(images: NDArray) -> dict[str, NDArray]:
        names = {id(layer): path for path, layer in parts_of(model, paths, keras.layers.Layer).items()}
        outputs: dict[str, NDArray] = {}
        call = keras.layers.Layer.__call__

        def kept(self: keras.layers.Layer, *args: object, **kwargs: object) -> keras.KerasTensor:
            output = call(self, *args, **kwargs)
            if id(self) in names:
                outputs[names[id(self)]] = array(output)
            return output

        with patch.object(keras.layers.Layer, "__call__", kept):
            eager(model)(images)
        return outputs

    return run


def train(model: se_tf.SEResNet, recipe: Recipe, batches: Sequence[Batch]) -> Iterator[TrainedStep]:
    """In a graph, as `fit` does it; the rate is a variable of Keras's own float type, which follows the model's."""
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
        yield TrainedStep(float(loss), read_gradients(model, gradients), se_tf.read_weights(model))


def tensor(images: NDArray) -> keras.KerasTensor:
    laid_out = relayout(images, "NCHW", "NHWC") if images.ndim == 4 else images
    return keras.ops.convert_to_tensor(laid_out, dtype=images.dtype.name)


def array(tensor: keras.KerasTensor) -> NDArray:
    output = np.asarray(keras.ops.convert_to_numpy(tensor))
    return relayout(output, "NHWC", "NCHW") if output.ndim == 4 else output
