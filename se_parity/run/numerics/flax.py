"""The numerical settings of JAX, whose default precision is TF32 on recent GPUs and bfloat16 on TPUs."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np
from jax import lax
from numpy.typing import NDArray

from se_parity.run.numerics import DeviceMissing

SETTINGS = ("jax_default_matmul_precision", "jax_default_device", "jax_enable_x64")


@contextmanager
def exact(device: str) -> Iterator[jax.Device]:
    """Full float32 in every product and convolution; yields the device to run on."""
    try:
        chosen = jax.devices(device)[0]
    except RuntimeError as error:
        raise DeviceMissing("JAX sees no GPU: install jax[cuda13], or use --device cpu") from error
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    try:
        jax.config.update("jax_default_matmul_precision", "highest")
        jax.config.update("jax_default_device", chosen)
        yield chosen
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


def multiply(a: NDArray, b: NDArray) -> NDArray:
    return np.asarray(jax.numpy.matmul(a, b))


def convolve(images: NDArray, kernel: NDArray) -> NDArray:
    axes = ("NCHW", "OIHW", "NCHW")
    return np.asarray(lax.conv_general_dilated(images, kernel, (1, 1), "VALID", dimension_numbers=axes))


def scale(a: NDArray, factor: float) -> NDArray:
    return np.asarray(jax.numpy.asarray(a) * factor)
