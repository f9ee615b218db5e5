"""Axes are letters: `relayout(kernel, "OIHW", "HWIO")`. No permutation tuples, no reshape."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

UNIT = "1"
"""An axis of size one that a layout adds, as in "OI11": a fully connected layer written as a 1x1 convolution."""

CHUNK = 32
"""Values of an axis that are copied at once."""


def relayout(array: NDArray, source: str, target: str, *, copy: bool = True) -> NDArray:
    """The same numbers with their axes in another order, C-contiguous and bit for bit unchanged.

    Without `copy` it may be the same memory, where nothing has to move.

    Raises ValueError where the letters differ, the rank is not the source's, or a unit axis is not of size one.
    """
    shape = relayout_shape(array.shape, source, target)
    named = [(letter, axis) for axis, letter in enumerate(source) if letter != UNIT]
    position = {letter: place for place, (letter, _) in enumerate(named)}
    squeezed = array[tuple(0 if letter == UNIT else slice(None) for letter in source)]
    ordered = squeezed.transpose([position[letter] for letter in target if letter != UNIT])
    expanded = ordered[tuple(None if letter == UNIT else slice(None) for letter in target)]
    assert expanded.shape == shape
    return expanded.copy() if copy and expanded.flags.c_contiguous else contiguous(expanded)


def contiguous(array: NDArray) -> NDArray:
    """The array itself where it is C-contiguous, or a copy that is.

    numpy copies an axis at a time, and where two axes change places each value then comes from another line of the
    processor's cache: pieces that fit the cache take a fifth to a tenth of the time (a 1x1 kernel of 2048 from 1024).
    """
    if array.flags.c_contiguous:
        return array
    copied = np.empty(array.shape, array.dtype)
    axis = max((axis for axis, size in enumerate(array.shape) if size > CHUNK), default=0)
    for begin in range(0, array.shape[axis], CHUNK):
        piece = (slice(None),) * axis + (slice(begin, begin + CHUNK),)
        copied[piece] = array[piece]
    return copied


@cache
def relayout_shape(shape: tuple[int, ...], source: str, target: str) -> tuple[int, ...]:
    """The shape that `relayout` gives an array of `shape`."""
    if sorted(source.replace(UNIT, "")) != sorted(target.replace(UNIT, "")):
        raise ValueError(f"cannot lay out {source} as {target}: the axes differ")
    if len(shape) != len(source):
        raise ValueError(f"an array of shape {shape} does not have the axes {source}")
    sizes = dict(zip(source, shape, strict=True))
    if any(size != 1 for letter, size in zip(source, shape, strict=True) if letter == UNIT):
        raise ValueError(
            f"an array of shape {shape} does not have the axes {source}: an axis marked 1 must be of size one"
        )
    return tuple(1 if letter == UNIT else sizes[letter] for letter in target)
