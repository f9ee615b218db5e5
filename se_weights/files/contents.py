"""The contents of a file, whatever its format: tensors by name, and metadata."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from os import preadv
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from se_weights.layouts import contiguous
from se_weights.refusals import refuse


@dataclass(frozen=True)
class Tensor:
    """A tensor that a file declares, or that is to be written.

    Attributes:
        dtype: The type of its values.
        shape: Its shape.
        load: Reads or computes the values. The array is read-only, or not used by anything else. Several threads may
            load at the same time.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    load: Callable[[], NDArray]

    @property
    def nbytes(self) -> int:
        """The size of the values in bytes."""
        return prod(self.shape) * self.dtype.itemsize

    @classmethod
    def of(cls, array: NDArray) -> "Tensor":
        """The tensor of an array."""
        return cls(array.dtype, array.shape, lambda: array)


@dataclass(frozen=True)
class UnreadObject:
    """An object that is not read: of a class that is not known, or a tensor of a kind that weights do not have.

    Attributes:
        name: The name of its class, or of the function that makes it.
        reason: The id of the refusal if the weights depend on it.
        tensors: How many tensors are in it.
    """

    name: str
    reason: str
    tensors: int


@dataclass(frozen=True)
class FileContents:
    """The contents of a file.

    Attributes:
        tensors: The tensors by their names in the file; "/" joins the levels of a tree.
        metadata: Strings by key.
        training: Whether it may be a training checkpoint, with tensors of an optimizer next to the weights.
        unread: The objects that are not read, by their names.
        objects: The names of the classes of these objects and of all inside them, apart from plain data.
        settings: What training scripts save beside the weights: names of options with their values.
        architectures: What the networks of our packages save of themselves: the JSON of their architectures by the
            prefixes that their tensors have in the file.
    """

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)
    training: bool = False
    unread: Mapping[str, UnreadObject] = field(default_factory=dict)
    objects: tuple[str, ...] = ()
    settings: Sequence[tuple[str, object]] = ()
    architectures: Mapping[str, str] = field(default_factory=dict)

    def refuse_unread(self, names: Iterable[str]) -> None:
        """Raises the refusal for the first of these objects that are not read, if there is one."""
        if (name := next(iter(names), None)) is not None:
            raise refuse(self.unread[name].reason, f"{name or 'the whole file'} is {self.unread[name].name}")


def array_bytes(array: NDArray) -> memoryview:
    """The bytes of an array in C order, without a copy if the array is C-contiguous."""
    return contiguous(array).reshape(-1).view(np.uint8).data


def read_values(file: BinaryIO, offset: int, dtype: np.dtype, count: int) -> NDArray:
    """Reads values from an offset in an open file, whose position does not change: several threads may read from it.

    Args:
        file: The file, opened for reading.
        offset: Where the values begin, in bytes.
        dtype: Their type.
        count: How many to read.

    Returns:
        A new flat array; shorter than `count` if the file ends before.
    """
    values = np.empty(count, dtype)
    rest = array_bytes(values)
    while rest and (length := preadv(file.fileno(), [rest], offset)):
        offset, rest = offset + length, rest[length:]
    return values[: count - -(-len(rest) // dtype.itemsize)]
