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
from se_flax.weights import checkpoint_of, empty_model, load_weights, read_weights
from se_spec import Architecture, expect_floating

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
    checkpoint = se_weights.fold_batchnorm(checkpoint_of(model))
    folded = empty_model(checkpoint.architecture, param_dtype=dtype or model.conv1.kernel[...].dtype)
    load_weights(folded, checkpoint.weights)
    folded.eval()
    return folded


class InferenceSEResNet(SEResNet):
    """A network for deployment: compiled, and taking images of any floating-point dtype.

    It compiles at its first call for each shape of images. Logits have the dtype of the images.

    Args:
        architecture: the configuration of the network, whose batch norms are folded.
        **options: `dtype`, `param_dtype` and `rngs`, as SEResNet takes them.
    """

    def __init__(self, architecture: Architecture, **options: Any) -> None:
        super().__init__(architecture, **options)
        self.eval()

    def __call__(self, images: Array) -> Array:
        expect_floating("SEResNet", jnp.issubdtype(images.dtype, jnp.floating), images.dtype)
        if isinstance(images, jax.core.Tracer):  # which is being compiled already
            return super().__call__(images.astype(self.conv1.kernel[...].dtype)).astype(images.dtype)
        graph, state = nnx.split(self)
        return compiled_call()(graph, state, images)


@cache
def compiled_call() -> Callable[[nnx.GraphDef, nnx.State, Array], Array]:
    """The logits of images, by the graph and the state of a network; compiled once for all networks of one graph."""

    @partial(jax.jit, static_argnums=0, compiler_options=accepted_options())
    def call(graph: nnx.GraphDef, state: nnx.State, images: Array) -> Array:
        return nnx.merge(graph, state)(images)

    return call


def optimize_for_inference(model: SEResNet, *, dtype: Any = None) -> SEResNet:
    """A copy of the model for deployment: folded and compiled.

    Args:
        model: the model to deploy; it is not changed.
        dtype: dtype of the computation, such as `jnp.bfloat16`; the model's own by default.

    Returns:
        An InferenceSEResNet.

    Raises:
        se_weights.WeightMismatch: with every fault, where a norm cannot be folded or a folded value is not finite.
    """
    folded = fold_batchnorm(model, dtype=dtype)
    param_dtype = folded.conv1.kernel[...].dtype
    deployed = empty_model(folded.architecture, network=InferenceSEResNet, param_dtype=param_dtype)
    load_weights(deployed, read_weights(folded))
    return deployed
