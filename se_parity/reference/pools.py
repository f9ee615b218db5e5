"""Pools of the float64 reference, forward and backward."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from se_spec.layers import AveragePool, BlurPool, MaxPool

Array = NDArray[np.float64]


def max_pool(x: Array, pool: MaxPool) -> Array:
    """The maximum of each window of (N, C, H, W), padded with minus infinity.

    Args:
        x: (N, C, H, W).
        pool: its kernel, stride and alignment.
    """
    margins = (0, 0), (0, 0), *map(pool.padding, x.shape[2:])
    padded = np.pad(x, margins, constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (pool.kernel, pool.kernel), axis=(2, 3))
    return windows[:, :, :: pool.stride, :: pool.stride].max(axis=(4, 5))


def max_pool_backward(x: Array, d: Array, pool: MaxPool) -> Array:
    """The gradient of a max-pool's input: each window's gradient goes to its first maximum.

    Args:
        x: the input (N, C, H, W).
        d: the gradient of the loss with respect to the output (N, C, H', W').
        pool: its kernel, stride and alignment.

    Returns:
        (N, C, H, W).
    """
    margins = [pool.padding(side) for side in x.shape[2:]]
    padded = np.pad(x, ((0, 0), (0, 0), *margins), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (pool.kernel, pool.kernel), axis=(2, 3))
    windows = windows[:, :, :: pool.stride, :: pool.stride]
    first = windows.reshape(*windows.shape[:4], -1).argmax(axis=-1)
    images, channels, rows, columns = np.indices(first.shape)
    gradient = np.zeros_like(padded)
    down, right = rows * pool.stride + first // pool.kernel, columns * pool.stride + first % pool.kernel
    np.add.at(gradient, (images, channels, down, right), d)
    (top, _), (left, _) = margins
    return gradient[:, :, top : top + x.shape[2], left : left + x.shape[3]]


def average_pool(x: Array, pool: AveragePool) -> Array:
    """The mean of each window of (N, C, H, W).

    Args:
        x: (N, C, H, W).
        pool: its kernel, stride and padding.
    """
    output = np.empty((*x.shape[:2], *map(pool.side, x.shape[2:])))
    for place, window, count in _averaged(x.shape[2:], pool):
        output[:, :, *place] = x[:, :, *window].sum(axis=(2, 3)) / count
    return output


def average_pool_backward(x: Array, d: Array, pool: AveragePool) -> Array:
    """The gradient of an average pool's input: each window's gradient is divided equally among its values.

    Args:
        x: the input (N, C, H, W).
        d: the gradient of the loss with respect to the output (N, C, H', W').
        pool: its kernel, stride and padding.

    Returns:
        (N, C, H, W).
    """
    gradient = np.zeros_like(x)
    for place, window, count in _averaged(x.shape[2:], pool):
        gradient[:, :, *window] += d[:, :, *place][:, :, None, None] / count
    return gradient


def blur_pool(x: Array, pool: BlurPool) -> Array:
    """The binomial mean of each window of (N, C, H, W), padded by reflection.

    Args:
        x: (N, C, H, W).
        pool: its weights and stride.
    """
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.einsum("nchwij,i,j->nchw", windows[:, :, :: pool.stride, :: pool.stride], pool.weights, pool.weights)


def blur_pool_backward(x: Array, d: Array, pool: BlurPool) -> Array:
    """The gradient of a blur's input; that of a reflected value goes to the value that it reflects.

    Args:
        x: the input (N, C, H, W).
        d: the gradient of the loss with respect to the output (N, C, H', W').
        pool: its weights and stride.

    Returns:
        (N, C, H, W).
    """
    down, right = (_blurred(side, pool) for side in x.shape[2:])
    return down.T @ d @ right


def _blurred(side: int, pool: BlurPool) -> Array:
    """The matrix (side', side) that blurs one axis."""
    places = np.pad(np.arange(side), 1, mode="reflect")
    matrix = np.zeros((pool.side(side), side))
    for row, column in np.ndindex(len(matrix), len(pool.weights)):
        matrix[row, places[row * pool.stride + column]] += pool.weights[column]
    return matrix


def _averaged(size: tuple[int, ...], pool: AveragePool) -> Iterator[tuple[tuple[int, int], tuple[slice, slice], int]]:
    """The place of each output of an average pool, the values that are averaged, and the number they are divided by."""
    for row, column in np.ndindex(*map(pool.side, size)):
        ends, counts = [], []
        for index, side in zip((row, column), size, strict=True):
            start = index * pool.stride - pool.padding
            stop = min(start + pool.kernel, side + pool.padding)
            ends.append(slice(max(start, 0), min(stop, side)))
            counts.append(stop - start if pool.count_include_pad else min(stop, side) - max(start, 0))
        yield (row, column), (ends[0], ends[1]), counts[0] * counts[1]
