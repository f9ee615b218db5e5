"""The Squeeze-and-Excitation layer (arXiv 1709.01507, section 3), in Flax NNX."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array

from se_flax.eca_layer import ECALayer
from se_flax.layers import dense, identity
from se_spec import (
    EfficientChannelAttention,
    SqueezeExcitation,
    expect_features,
    expect_floating,
    squeezed_channels,
)


class SELayer(nnx.Module):
    """Scales every channel by a gate that is computed from the whole input (paper, eq. 2-4).

    Takes (N, spatial..., C) with one or more spatial axes, and returns the same shape.

    Args:
        channels: number of channels C.
        reduction: reduction ratio r of the paper: the squeezed width is C // r.
        bias: whether the two fully connected layers have biases; the paper's have none.
        squeezed: the squeezed width itself, where it does not follow from a reduction ratio.
        dtype: dtype of the computation; that of input and weights by default.
        param_dtype: dtype of the weights.
        rngs: random numbers of the initial weights.

    Raises:
        ValueError: when called with another rank or channel count.
        TypeError: when called with values that are not floating-point.
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        bias: bool = False,
        *,
        squeezed: int | None = None,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        options = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.channels = channels
        self.squeezed = squeezed_channels(channels, reduction) if squeezed is None else squeezed
        self.fc1 = dense(channels, self.squeezed, bias, **options)
        self.fc2 = dense(self.squeezed, channels, bias, **options)

    def __call__(self, x: Array) -> Array:
        """Scale (paper, eq. 4)."""
        expect_features(x.shape, -1, self.channels)
        expect_floating("SELayer", jnp.issubdtype(x.dtype, jnp.floating), x.dtype)
        gate = self.gate(x)
        return x * jnp.expand_dims(gate, tuple(range(1, x.ndim - 1)))

    def gate(self, x: Array) -> Array:
        """Squeeze and excitation (paper, eq. 2 and 3): the gates (N, C), between 0 and 1."""
        squeezed = jnp.mean(x, axis=tuple(range(1, x.ndim - 1)))
        return nnx.sigmoid(self.fc2(nnx.relu(self.fc1(squeezed))))


def squeeze_excitation(
    se: SqueezeExcitation | EfficientChannelAttention | None, **options: Any
) -> Callable[[Array], Array]:
    """The SE or ECA layer of these sizes; the identity where there is none.

    Args:
        se: the sizes; None for the identity.
        **options: `dtype`, `param_dtype` and `rngs`, as the networks take them.
    """
    if isinstance(se, EfficientChannelAttention):
        return ECALayer(se.channels, se.kernel, **options)
    return SELayer(se.channels, bias=se.bias, squeezed=se.squeezed, **options) if se else identity
