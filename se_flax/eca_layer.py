"""The layer of ECA-Net (arXiv 1910.03151), which takes the place of an SE layer, in Flax NNX."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array

from se_flax.layers import ChannelConvolution
from se_spec import eca_kernel, expect_features, expect_floating


class ECALayer(nnx.Module):
    """Scales every channel by a gate that is computed from the means of its neighbours (ECA-Net, eq. 9).

    Takes (N, spatial..., C) with one or more spatial axes, and returns the same shape.

    Args:
        channels: number of channels C.
        kernel: number of neighbouring channels that a gate is computed from; by default it follows from C (eq. 12).
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
        kernel: int | None = None,
        *,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        self.channels = channels
        self.kernel = eca_kernel(channels) if kernel is None else kernel
        self.conv = ChannelConvolution(self.kernel, dtype=dtype, param_dtype=param_dtype, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Scale, as an SE layer does."""
        expect_features(x.shape, -1, self.channels)
        expect_floating("ECALayer", jnp.issubdtype(x.dtype, jnp.floating), x.dtype)
        gate = self.gate(x)
        return x * jnp.expand_dims(gate, tuple(range(1, x.ndim - 1)))

    def gate(self, x: Array) -> Array:
        """Squeeze, and convolve over the channels (ECA-Net, eq. 9): the gates (N, C), between 0 and 1."""
        squeezed = jnp.mean(x, axis=tuple(range(1, x.ndim - 1)))
        return nnx.sigmoid(self.conv(squeezed))
