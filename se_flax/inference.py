"""Models for inference: batch norms folded, compiled, in Flax NNX."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

import se_weights
from se_flax.se_resnet import SEResNet
from se_flax.weights import empty_model, load_weights, read_weights

COMPILER_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": ""}
"""Keeps XLA from using YNNPACK for convolutions, which takes up to a third longer than XLA's own code (jax 0.10.2)."""


@cache
def accepted_options() -> dict[str, str]:
    """COMPILER_OPTIONS where this version of XLA accepts them: experimental options come and go."""
    try:
        jax.jit(jnp.negative, compiler_options=COMPILER_OPTIONS).lower(0.0).compile()
    except RuntimeError:
        return {}
    return COMPILER_OPTIONS


def fold_batchnorm(model: SEResNet, *, dtype: Any = None) -> SEResNet:
    """A copy for inference whose batch norms are folded into its convolutions; it computes the same function.

    Args:
        model: the model to fold; it is not changed.
        dtype: dtype of the copy's weights; the model's own by default.

    Raises:
        se_weights.WeightMismatch: with every fault, where a norm cannot be folded or a folded value is not finite.
    """
    checkpoint = se_weights.Checkpoint(model.architecture, read_weights(model))
    checkpoint = se_weights.fold_batchnorm(checkpoint)
    folded = empty_model(checkpoint.architecture, param_dtype=dtype or model.conv1.kernel[...].dtype)
    load_weights(folded, checkpoint.weights)
    folded.eval()
    return folded


def optimize_for_inference(model: SEResNet, *, dtype: Any = None) -> Callable[[Array], Array]:
    """A function from images to logits, for deployment: a folded copy of the model, compiled.

    It compiles at its first call for each shape of images.

    Args:
        model: the model to deploy; it is not changed.
        dtype: dtype of the computation, such as `jnp.bfloat16`; the model's own by default. Images and logits keep the
            dtype that the images have.
    """
    folded = fold_batchnorm(model, dtype=dtype)
    graph, state = nnx.split(folded)

    @partial(jax.jit, compiler_options=accepted_options())
    def compiled(state: nnx.State, images: Array) -> Array:
        inputs = images.astype(folded.conv1.kernel[...].dtype)
        return nnx.merge(graph, state)(inputs).astype(images.dtype)

    return lambda images: compiled(state, images)
