"""Convolution in the forms that XLA is fast at on a CPU; what is computed is `lax.conv_general_dilated`."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from se_spec import groups_as_one


def convolve(
    x: Array,
    kernel: Array,
    strides: Sequence[int],
    padding: Any,
    *,
    feature_group_count: int = 1,
    precision: Any = None,
    **options: Any,
) -> Array:
    """(N, H, W, C) with a kernel HWIO. One of 1x1 is a matrix product; narrow groups are computed together."""
    if kernel.shape[:2] == (1, 1) and feature_group_count == 1:
        taken = x[:, :: strides[0], :: strides[1]]
        product = lax.dot(taken.reshape(-1, kernel.shape[2]), kernel[0, 0], precision=precision)
        return product.reshape(*taken.shape[:-1], -1)  # of matrices: the gradient of a product of maps takes longer
    together = groups_as_one(kernel.shape[2], feature_group_count)
    return lax.conv_general_dilated(
        x,
        widened(kernel, feature_group_count, together),
        strides,
        padding,
        feature_group_count=feature_group_count // together,
        precision=precision,
        **options,
    )


def widened(kernel: Array, groups: int, together: int) -> Array:
    """A kernel (H, W, I, O) of groups, as one whose groups are `together` times as wide, with zeros between them."""
    if together == 1:
        return kernel
    height, width, inputs, outputs = kernel.shape
    apart = kernel.reshape(height, width, inputs, groups // together, together, outputs // groups)
    blocks = jnp.einsum("hwigmo,nm->hwnigmo", apart, jnp.eye(together, dtype=kernel.dtype))
    return blocks.reshape(height, width, together * inputs, outputs)
