"""The numerical settings of Keras, on TensorFlow or on the backend that KERAS_BACKEND selects.

TensorFlow's default on GPUs is TF32. On another backend, the settings of that backend apply.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module

import keras
from numpy.typing import NDArray

from se_parity.run.numerics import DeviceMissing
from se_weights import relayout

OTHER_BACKENDS = {"jax": "se_parity.run.numerics.flax", "torch": "se_parity.run.numerics.torch"}


def exact(device: str) -> AbstractContextManager[object]:
    """Full float32, deterministic sums, and a GPU only where `device` is "gpu"."""
    backend = keras.backend.backend()
    return import_module(OTHER_BACKENDS[backend]).exact(device) if backend in OTHER_BACKENDS else _tensorflow(device)


@contextmanager
def _tensorflow(device: str) -> Iterator[None]:
    import tensorflow as tf
    from tensorflow.python.framework import config as internal  # the public API cannot switch determinism off

    gpus, visible = tf.config.list_physical_devices("GPU"), tf.config.get_visible_devices()
    if device == "gpu" and not gpus:
        raise DeviceMissing("TensorFlow sees no GPU: install tensorflow[and-cuda], or use --device cpu")
    tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
    deterministic = internal.is_op_determinism_enabled()
    try:
        if device == "cpu":
            tf.config.set_visible_devices([], "GPU")
        tf.config.experimental.enable_tensor_float_32_execution(False)
        tf.config.experimental.enable_op_determinism()
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(tf32)
        if not deterministic:
            internal.disable_op_determinism()
        if gpus and device == "cpu":
            tf.config.set_visible_devices(visible)


def multiply(a: NDArray, b: NDArray) -> NDArray:
    return keras.ops.convert_to_numpy(keras.ops.matmul(a, b))


def convolve(images: NDArray, kernel: NDArray) -> NDArray:
    x, w = relayout(images, "NCHW", "NHWC"), relayout(kernel, "OIHW", "HWIO")
    y = keras.ops.conv(keras.ops.convert_to_tensor(x), keras.ops.convert_to_tensor(w), data_format="channels_last")
    return relayout(keras.ops.convert_to_numpy(y), "NHWC", "NCHW")


def scale(a: NDArray, factor: float) -> NDArray:
    return keras.ops.convert_to_numpy(keras.ops.multiply(a, factor))
