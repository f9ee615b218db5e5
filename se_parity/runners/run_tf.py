"""A worker's work in Keras, on TensorFlow unless KERAS_BACKEND says otherwise."""

from collections.abc import Callable, Mapping

import keras
import numpy as np
from numpy.typing import NDArray

import se_tf
from se_parity.runners import DeviceMissing
from se_spec import Architecture
from se_weights import relayout

Run = Callable[[NDArray], NDArray]


def prepare(device: str) -> None:
    """No TF32, and the GPU only where it is asked for."""
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        raise DeviceMissing("TensorFlow sees no GPU: install tensorflow[and-cuda], or use --device cpu")
    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
    tf.config.experimental.enable_tensor_float_32_execution(False)


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


def _runs(call: Callable[..., keras.KerasTensor]) -> Run:
    def run(images: NDArray) -> NDArray:
        logits = call(keras.ops.convert_to_tensor(relayout(images, "NCHW", "NHWC")), training=False)
        return keras.ops.convert_to_numpy(logits)

    return run


def eager(model: keras.Model) -> Run:
    return _runs(model)


def graph(model: keras.Model) -> Run:
    import tensorflow as tf

    return _runs(tf.function(model))


def xla(model: keras.Model) -> Run:
    import tensorflow as tf

    return _runs(tf.function(model, jit_compile=True))


MODES = {"eager": eager, "graph": graph, "xla": xla}


def features(model: se_tf.SEResNet) -> Callable[[NDArray], dict[str, NDArray]]:
    blocks = {name: model.get_layer(block.name).output for name, block in model.blocks()}
    by_name = keras.Model(model.inputs[0], blocks)

    def run(images: NDArray) -> dict[str, NDArray]:
        outputs = by_name(relayout(images, "NCHW", "NHWC"), training=False)
        return {
            name: relayout(np.asarray(keras.ops.convert_to_numpy(x)), "NHWC", "NCHW") for name, x in outputs.items()
        }

    return run
