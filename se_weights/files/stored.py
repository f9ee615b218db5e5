"""What a file holds, whatever its format: tensors by name, and metadata."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from os import preadv
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from se_weights.layouts import contiguous


@dataclass(frozen=True)
class Tensor:
    """A tensor as a file declares it, or as one is to hold it. Its values are read, or made, when asked for.

    What `load` gives of a file is read-only, or nobody else's. Several threads may load at once.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    load: Callable[[], NDArray]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    @classmethod
    def of(cls, array: NDArray) -> "Tensor":
        return cls(array.dtype, array.shape, lambda: array)


@dataclass(frozen=True)
class FileContents:
    """Tensors by the names they have in the file, and text metadata.

    "/" joins the levels of a tree. Those of a `training` checkpoint may hold an optimiser's tensors beside the weights.
    """

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)
    training: bool = False


def bytes_of(array: NDArray) -> memoryview:
    """The bytes of an array in C order, without a copy where they lie so."""
    return contiguous(array).reshape(-1).view(np.uint8).data


def values_at(file: BinaryIO, offset: int, dtype: np.dtype, count: int) -> NDArray:
    """So many values from a place in an open file, whose own position does not move: several threads may ask at once.

    Where the file ends before, they are fewer.
    """
    values = np.empty(count, dtype)
    rest = bytes_of(values)
    while rest and (length := preadv(file.fileno(), [rest], offset)):
        offset, rest = offset + length, rest[length:]
    return values[: count - -(-len(rest) // dtype.itemsize)]
