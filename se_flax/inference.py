"""The forms in which a model is deployed, in Flax NNX."""

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
"""Keeps XLA from giving convolutions to YNNPACK, which takes up to a third longer than XLA's own (jax 0.10.2)."""


@cache
def known_options() -> dict[str, str]:
    """COMPILER_OPTIONS, where this XLA knows them: such experiments come and go with its versions."""
    try:
        jax.jit(jnp.negative, compiler_options=COMPILER_OPTIONS).lower(0.0).compile()
    except RuntimeError:
        return {}
    return COMPILER_OPTIONS


def fold_batchnorm(model: SEResNet, *, dtype: Any = None) -> SEResNet:
    """A copy for inference whose norms are folded into its convolutions; the same function of images."""
    checkpoint = se_weights.Checkpoint(model.architecture, read_weights(model))
    checkpoint = se_weights.fold_batchnorm(checkpoint)
    folded = empty_model(checkpoint.architecture, param_dtype=dtype or model.conv1.kernel[...].dtype)
    load_weights(folded, checkpoint.weights)
    folded.eval()
    return folded


def optimize_for_inference(model: SEResNet, *, dtype: Any = None) -> Callable[[Array], Array]:
    """Images to logits, by a copy of the model that is folded and compiled: at its first call for a shape of images.

    Computes in `dtype`, such as jnp.bfloat16, where it is given; images and logits keep the type that images have.
    """
    folded = fold_batchnorm(model, dtype=dtype)
    graph, state = nnx.split(folded)

    @partial(jax.jit, compiler_options=known_options())
    def compiled(state: nnx.State, images: Array) -> Array:
        given = images.astype(folded.conv1.kernel[...].dtype)
        return nnx.merge(graph, state)(given).astype(images.dtype)

    return lambda images: compiled(state, images)
