"""Convolutions of the float64 reference, forward and backward: the definition's sums over windows."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from se_spec.layers import ChannelConvolution, Convolution, pair

Array = NDArray[np.float64]

Margins = tuple[tuple[int, int], ...]
"""The padding before and after each spatial axis."""


def convolve(x: Array, kernel: Array, convolution: Convolution, margins: Margins | None = None) -> Array:
    """Cross-correlate images with a kernel.

    Args:
        x: (N, C, H, W).
        kernel: (O, C / groups, kH, kW).
        convolution: its stride, dilation, groups and padding.
        margins: zero padding before and after each spatial axis; by default that of the convolution.

    Returns:
        (N, O, H', W').
    """
    windows = _windows(_padded(x, margins or _margins(convolution)), convolution)
    pairs = zip(np.split(windows, convolution.groups, axis=1), np.split(kernel, convolution.groups), strict=True)
    outputs = [np.tensordot(inputs, weights, ((1, 4, 5), (1, 2, 3))) for inputs, weights in pairs]
    return np.concatenate(outputs, axis=3).transpose(0, 3, 1, 2)


def convolution_backward(x: Array, kernel: Array, d: Array, convolution: Convolution) -> tuple[Array, Array]:
    """The gradients of a convolution's input (N, C, H, W) and of its kernel (O, C / groups, kH, kW).

    Args:
        x: the input (N, C, H, W).
        kernel: (O, C / groups, kH, kW).
        d: the gradient of the loss with respect to the output (N, O, H', W').
        convolution: its stride, dilation, groups and padding.
    """
    (top, _), (left, _) = margins = _margins(convolution)
    padded = _padded(x, margins)
    inputs, weights = np.zeros_like(padded), np.zeros_like(kernel)
    windows = _windows(padded, convolution)
    channels = [size // convolution.groups for size in (x.shape[1], d.shape[1])]
    for group in range(convolution.groups):
        ins, outs = (slice(group * count, (group + 1) * count) for count in channels)
        weights[outs] = np.tensordot(d[:, outs], windows[:, ins], ((0, 2, 3), (0, 2, 3)))
        spread = np.moveaxis(np.tensordot(d[:, outs], kernel[outs], (1, 0)), 3, 1)
        for row, column, seen in _places(convolution, d.shape[2:]):
            inputs[:, ins, *seen] += spread[..., row, column]
    height, width = x.shape[2:]
    return inputs[:, :, top : top + height, left : left + width], weights


def convolve_channels(x: Array, kernel: Array) -> Array:
    """Cross-correlate the channels of vectors with a kernel, padded with zeros.

    Args:
        x: (N, C).
        kernel: (1, 1, k).
    """
    return _channel_windows(x, kernel.size) @ kernel[0, 0]


def channel_convolution_backward(
    x: Array, kernel: Array, d: Array, operation: ChannelConvolution
) -> tuple[Array, Array]:
    """The gradients of a channel convolution's input (N, C) and of its kernel (1, 1, k).

    Args:
        x: the input (N, C).
        kernel: (1, 1, k).
        d: the gradient of the loss with respect to the output (N, C).
        operation: the operation.
    """
    weights = np.einsum("nc,nck->k", d, _channel_windows(x, operation.kernel))
    return _channel_windows(d, operation.kernel) @ kernel[0, 0, ::-1], weights[None, None]


def _channel_windows(x: Array, kernel: int) -> Array:
    """The windows (N, C, k) of vectors (N, C)."""
    padded = np.pad(x, ((0, 0), (kernel // 2, kernel // 2)))
    return np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=1)


def _margins(convolution: Convolution) -> Margins:
    return tuple((zeros, zeros) for zeros in convolution.paddings)


def _padded(x: Array, margins: Margins) -> Array:
    return np.pad(x, ((0, 0), (0, 0), *margins))


def _windows(padded: Array, convolution: Convolution) -> Array:
    """The windows (N, C, H', W', kH, kW) of padded images."""
    (down, right), (rows, columns) = pair(convolution.stride), pair(convolution.dilation)
    windows = np.lib.stride_tricks.sliding_window_view(padded, convolution.spans, axis=(2, 3))
    return windows[:, :, ::down, ::right, ::rows, ::columns]


def _places(convolution: Convolution, size: tuple[int, ...]) -> Iterator[tuple[int, int, tuple[slice, slice]]]:
    """For each weight of a kernel, by row and column, the values of the padded images that it is multiplied with."""
    strides, dilations = pair(convolution.stride), pair(convolution.dilation)
    for row, column in np.ndindex(*pair(convolution.kernel)):
        down, right = (
            slice(index * dilation, index * dilation + stride * (length - 1) + 1, stride)
            for index, dilation, stride, length in zip((row, column), dilations, strides, size, strict=True)
        )
        yield row, column, (down, right)
