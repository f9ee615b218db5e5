"""What a file holds, whatever its format: tensors by name, and metadata."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from math import prod
from os import preadv
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from se_weights.layouts import in_order


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
class Stored:
    """Tensors by the names they have in the file, and text metadata.

    "/" joins the levels of a tree. Those of a `training` checkpoint may hold an optimiser's tensors beside the weights.
    """

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)
    training: bool = False


@dataclass(frozen=True)
class Format:
    """A file format: its suffixes, the families of dialects it can hold (the first dialect of the first is written
    unless another is asked for), the dtypes it can hold, and how it is opened and written (None: it is read only).

    What is opened declares its tensors; their values can be loaded until it is closed. `reopen` is a quicker way for
    what this process has just written. `signatures` are what the content may begin with, where that is known. A format
    that is a `folder` is written as one. `metadata` is written always, or only when needed, where the format's own
    readers may stumble over it."""

    name: str
    suffixes: tuple[str, ...]
    families: tuple[str, ...]
    dtypes: tuple[str, ...]
    open: Callable[[Path], AbstractContextManager[Stored]]
    write: Callable[[Path, Stored], None] | None
    metadata: str = "always"
    reopen: Callable[[Path], AbstractContextManager[Stored]] | None = None
    signatures: tuple[str, ...] = ()
    folder: bool = False


def bytes_of(array: NDArray) -> memoryview:
    """The bytes of an array in C order, without a copy where they lie so."""
    return in_order(array).reshape(-1).view(np.uint8).data


def values_at(file: BinaryIO, offset: int, dtype: np.dtype, count: int) -> NDArray:
    """So many values from a place in an open file, whose own position does not move: several threads may ask at once.

    Where the file ends before, they are fewer.
    """
    values = np.empty(count, dtype)
    rest = bytes_of(values)
    while rest and (length := preadv(file.fileno(), [rest], offset)):
        offset, rest = offset + length, rest[length:]
    return values[: count - -(-len(rest) // dtype.itemsize)]


FLOATS = ("float16", "float32", "float64")
ALL_FLOATS = (*FLOATS, "bfloat16")
