"""Resizes images as Pillow does, to the bit: the fixed-point arithmetic of its `Image.resize` in numpy.

Frameworks resize in other ways, whose pixels differ by up to 75 of 255 (docs/reference/preprocessing.md); networks were
trained and evaluated with Pillow's. Source: Pillow 13.0, src/libImaging/Resample.c, for images of 8 bits a channel.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]

PRECISION = 22
"""Bits behind the binary point of Pillow's weights: 32, less 8 for a pixel and 2 for sums."""


def _triangle(x: Weights) -> Weights:
    return np.maximum(1 - np.abs(x), 0)


def _cubic(x: Weights) -> Weights:
    """Keys's cubic kernel with a = -0.5."""
    a, x = -0.5, np.abs(x)
    inner = ((a + 2) * x - (a + 3)) * x * x + 1
    outer = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, inner, np.where(x < 2, outer, 0))


FILTERS: Mapping[str, tuple[Callable[[Weights], Weights], float]] = {
    "bilinear": (_triangle, 1.0),
    "bicubic": (_cubic, 2.0),
}
"""The kernel of each interpolation, and the distance from which on it is zero."""


def resize(pixels: NDArray[np.uint8], height: int, width: int, interpolation: str) -> NDArray[np.uint8]:
    """Resize an image as `PIL.Image.Image.resize` does.

    Args:
        pixels: An image of shape (H, W, C).
        height: The height of the result.
        width: The width of the result.
        interpolation: One of `FILTERS`. Where an image becomes smaller, the kernel covers as much more of it.

    Returns:
        The image of shape (height, width, C).

    Raises:
        ValueError: The interpolation is unknown, the image is empty, or a side of the result is below 1.
    """
    if interpolation not in FILTERS:
        raise ValueError(f"interpolation {interpolation!r} is not one of {', '.join(FILTERS)}")
    if not pixels.size or min(height, width) < 1:
        raise ValueError(f"an image of {pixels.shape} pixels cannot be resized to {height}x{width}")
    sides = {"vertical": height, "horizontal": width}
    order = ("vertical", "horizontal") if _is_vertical_first(pixels, height, width) else ("horizontal", "vertical")
    for direction in order:
        turn = (0, 1, 2) if direction == "vertical" else (1, 0, 2)
        turned = pixels.transpose(turn)
        if len(turned) != sides[direction]:
            pixels = _resize_rows(turned, sides[direction], interpolation).transpose(turn)
    return np.ascontiguousarray(pixels)


def _is_vertical_first(pixels: NDArray[np.uint8], height: int, width: int) -> bool:
    """Whether rows are resized before columns, which changes roundings: in Pillow 13, where they become much fewer.

    Earlier releases of Pillow always resized columns first.
    """
    return pixels.shape[0] - height > 2 * max(pixels.shape[1] - width, 0)


def _resize_rows(pixels: NDArray[np.uint8], count: int, interpolation: str) -> NDArray[np.uint8]:
    """The image with another number of rows."""
    first, weights = _fixed_point_weights(len(pixels), count, interpolation)
    total = np.full((count, *pixels.shape[1:]), 1 << (PRECISION - 1), np.int64)
    for tap in range(weights.shape[1]):
        rows = np.minimum(first + tap, len(pixels) - 1)  # a row beyond the last one has no weight
        total += weights[:, tap, None, None] * pixels[rows]
    return np.clip(total >> PRECISION, 0, 255).astype(np.uint8)


def _fixed_point_weights(size: int, count: int, interpolation: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first of the pixels that each new pixel averages, and their weights in fixed point, one row a new pixel."""
    kernel, radius = FILTERS[interpolation]
    scale = size / count
    stretch = max(scale, 1.0)
    support = radius * stretch
    center = (np.arange(count) + 0.5) * scale
    first = np.maximum((center - support + 0.5).astype(np.int64), 0)
    end = np.minimum((center + support + 0.5).astype(np.int64), size)
    taps = np.arange(2 * math.ceil(support) + 1)
    weights = kernel((taps + first[:, None] - center[:, None] + 0.5) * (1.0 / stretch))
    weights = np.where(taps < (end - first)[:, None], weights, 0)
    total = np.zeros(count)
    for column in weights.T:  # summed in Pillow's order, since another order rounds differently
        total += column
    weights /= np.where(total == 0, 1, total)[:, None]
    return first, (np.where(weights < 0, -0.5, 0.5) + weights * (1 << PRECISION)).astype(np.int64)
