"""Models for inference: batch norms folded, compiled, in Flax NNX."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

import se_weights
from se_flax.network import Network, without_values
from se_flax.se_densenet import SEDenseNet
from se_flax.se_resnet import SEResNet
from se_flax.weights import checkpoint_of, empty_model, load_weights, read_weights, weight_dtype
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


def fold_batchnorm(model: Network, *, dtype: Any = None) -> Network:
    """A copy for inference whose batch norms are folded into its convolutions; it computes the same function.

    Args:
        model: the model to fold; it is not changed.
        dtype: dtype of the copy's weights; the model's own by default.

    Raises:
        se_weights.WeightMismatch: with every fault, where a norm cannot be folded or a folded value is not finite.
    """
    checkpoint = se_weights.fold_batchnorm(checkpoint_of(model))
    folded = empty_model(checkpoint.architecture, param_dtype=dtype or weight_dtype(model))
    load_weights(folded, checkpoint.weights)
    folded.preprocessing = checkpoint.preprocessing
    folded.eval()
    return folded


class InferenceNetwork(Network):
    """A network for deployment: compiled, and taking images of any floating-point dtype.

    It compiles at its first call for each shape of images. Logits have the dtype of the images.

    Args:
        architecture: the configuration of the network, whose batch norms are folded.
        **options: `dtype`, `param_dtype` and `rngs`, as the networks take them.
    """

    def __init__(self, architecture: Architecture, **options: Any) -> None:
        super().__init__(architecture, **options)
        self.eval()

    def __call__(self, images: Array) -> Array:
        expect_floating("the network", jnp.issubdtype(images.dtype, jnp.floating), images.dtype)
        if isinstance(images, jax.core.Tracer):  # which is being compiled already
            return super().__call__(images.astype(weight_dtype(self))).astype(images.dtype)
        graph, state = nnx.split(self)
        return compiled_call()(graph, state, images)


@cache
def compiled_call() -> Callable[[nnx.GraphDef, nnx.State, Array], Array]:
    """The logits of images, by the graph and the state of a network; compiled once for all networks of one graph."""

    @partial(jax.jit, static_argnums=0, compiler_options=accepted_options())
    def call(graph: nnx.GraphDef, state: nnx.State, images: Array) -> Array:
        return nnx.merge(graph, state)(images)

    return call


class InferenceSEResNet(InferenceNetwork, SEResNet):
    """An SE-ResNet for deployment."""


class InferenceSEDenseNet(InferenceNetwork, SEDenseNet):
    """An SE-DenseNet for deployment."""


DEPLOYED: dict[str, type[InferenceNetwork]] = {"se_resnet": InferenceSEResNet, "se_densenet": InferenceSEDenseNet}
"""The class of each family's networks for deployment."""


def optimize_for_inference(model: Network, *, dtype: Any = None) -> Network:
    """A copy of the model for deployment: folded and compiled.

    Args:
        model: the model to deploy; it is not changed.
        dtype: dtype of the computation, such as `jnp.bfloat16`; the model's own by default.

    Returns:
        A network of the class in DEPLOYED.

    Raises:
        se_weights.WeightMismatch: with every fault, where a norm cannot be folded or a folded value is not finite.
    """
    folded = fold_batchnorm(model, dtype=dtype)
    network = DEPLOYED[folded.architecture.family]
    param_dtype = weight_dtype(folded)
    deployed = without_values(lambda rngs: network(folded.architecture, param_dtype=param_dtype, rngs=rngs))
    load_weights(deployed, read_weights(folded))
    deployed.preprocessing = folded.preprocessing
    return deployed
