"""A worker's work in Flax NNX."""

from collections.abc import Callable, Mapping

import flax
import jax
import numpy as np
from flax import nnx
from numpy.typing import NDArray

import se_flax
from se_flax.weights import empty_model
from se_parity.runners import DeviceMissing
from se_spec import Architecture
from se_weights import relayout

Run = Callable[[NDArray], NDArray]


def prepare(device: str) -> None:
    """Full float32 in every product and convolution; JAX's default is TF32 on GPUs and bfloat16 on TPUs."""
    jax.config.update("jax_default_matmul_precision", "highest")
    try:
        jax.config.update("jax_default_device", jax.devices(device)[0])
    except RuntimeError as error:
        raise DeviceMissing("JAX sees no GPU: install jax[cuda13], or use --device cpu") from error


def environment() -> dict[str, str]:
    device = jax.config.jax_default_device
    return {"jax": jax.__version__, "flax": flax.__version__, "device": device.device_kind}


def load(architecture: Architecture, weights: Mapping[str, NDArray], dtype: str) -> se_flax.SEResNet:
    """Float64 needs JAX's 64-bit types, which are off by default, and stay on for this model's runs."""
    jax.config.update("jax_enable_x64", dtype == "float64")
    model = empty_model(architecture, param_dtype=dtype)
    se_flax.load_weights(model, weights)
    model.eval()
    return model


def _runs(model: nnx.Module, call: Callable[[nnx.Module, jax.Array], jax.Array]) -> Run:
    def run(images: NDArray) -> NDArray:
        return np.asarray(call(model, jax.numpy.asarray(relayout(images, "NCHW", "NHWC"))))

    return run


def eager(model: nnx.Module) -> Run:
    return _runs(model, lambda model, images: model(images))


def jit(model: nnx.Module) -> Run:
    return _runs(model, nnx.jit(lambda model, images: model(images)))


MODES = {"eager": eager, "jit": jit}


def features(model: se_flax.SEResNet) -> Callable[[NDArray], dict[str, NDArray]]:
    def run(images: NDArray) -> dict[str, NDArray]:
        outputs = {}
        x = model.stem(jax.numpy.asarray(relayout(images, "NCHW", "NHWC")))
        for name, block in model.blocks():
            x = block(x)
            outputs[name] = relayout(np.asarray(x), "NHWC", "NCHW")
        return outputs

    return run
