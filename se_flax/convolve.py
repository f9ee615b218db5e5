"""Convolutions in forms that XLA is fast at on a CPU; what is computed is `lax.conv_general_dilated`.

A 1x1 convolution is a matrix product. XLA's CPU code for grouped convolutions is slow where a group has few channels:
neighbouring groups are computed as one wider group, whose kernel has zeros between them. The sums are the same, with
zeros added.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

NARROW, WIDE = 16, 32
"""Channels of a group below which XLA is slow on a CPU, and with which it is fast (benchmarks/RESULTS.md)."""


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
    """The convolution of images (N, H, W, C) with a kernel HWIO; arguments as in `lax.conv_general_dilated`.

    Args:
        x: images (N, H, W, C).
        kernel: (H, W, I, O), where I counts the input channels of one group.
        strides: of height and width.
        padding: before and after each spatial axis; ignored for a 1x1 kernel without groups, which needs none.
        feature_group_count: number of groups of channels that are convolved separately.
        precision: precision of the products, a `lax.Precision` or None for JAX's default.
        **options: further arguments of `lax.conv_general_dilated`; ignored for the same kernels.
    """
    if kernel.shape[:2] == (1, 1) and feature_group_count == 1:
        strided = x[:, :: strides[0], :: strides[1]]
        product = lax.dot(strided.reshape(-1, kernel.shape[2]), kernel[0, 0], precision=precision)
        return product.reshape(*strided.shape[:-1], -1)  # the gradient of a product of matrices is the faster one
    merged = merged_groups(kernel.shape[2], feature_group_count)
    return lax.conv_general_dilated(
        x,
        widened(kernel, feature_group_count, merged),
        strides,
        padding,
        feature_group_count=feature_group_count // merged,
        precision=precision,
        **options,
    )


def merged_groups(channels: int, groups: int) -> int:
    """How many neighbouring groups to compute as one.

    Args:
        channels: input channels of one group.
        groups: number of groups, which the result divides.
    """
    most = min(groups, WIDE // channels) if channels < NARROW else 1
    return next(number for number in range(most, 0, -1) if groups % number == 0)


def widened(kernel: Array, groups: int, merged: int) -> Array:
    """The kernel of the same convolution with `groups / merged` groups.

    Args:
        kernel: (H, W, I, O), where I counts the input channels of one group.
        groups: number of groups of the kernel.
        merged: number of neighbouring groups that become one.

    Returns:
        (H, W, merged * I, O), block-diagonal in the channels of each new group.
    """
    if merged == 1:
        return kernel
    height, width, inputs, outputs = kernel.shape
    separate = kernel.reshape(height, width, inputs, groups // merged, merged, outputs // groups)
    blocks = jnp.einsum("hwigmo,nm->hwnigmo", separate, jnp.eye(merged, dtype=kernel.dtype))
    return blocks.reshape(height, width, merged * inputs, outputs)
