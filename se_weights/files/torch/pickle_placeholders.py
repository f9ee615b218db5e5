"""What stands in for torch's and numpy's objects while a pickle is loaded. They hold what is data, and run nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from reprlib import repr as short
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from se_weights.files.limits import RANK, SIDE
from se_weights.files.stored import Tensor
from se_weights.refusals import refuse

STORAGES: dict[str, Any] = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


@dataclass(frozen=True)
class StorageType:
    """A class of torch's that a pickle names where a storage follows."""

    dtype: np.dtype


class Storage:
    """The values that one or several tensors lie in. Those that several may share are read once."""

    def __init__(self, dtype: np.dtype, count: int, read: Callable[[], NDArray]) -> None:
        self.dtype = dtype
        self.count = count
        self.read = read
        self.kept: NDArray | None = None

    def values(self, wanted: int) -> NDArray:
        if self.kept is None and wanted < self.count:
            self.kept = self.read()
        return self.read() if self.kept is None else self.kept


def rebuild_tensor(
    storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *rest: Any
) -> Tensor:
    if not isinstance(storage, Storage):
        raise refuse("torch.tensor", f"one of shape {short(shape)} has no storage")
    whole = all(_is_size(number) for number in (offset, *shape, *stride))
    if not whole or len(shape) != len(stride) or len(shape) > RANK:
        raise refuse("torch.tensor", f"offset {short(offset)}, shape {short(shape)}, stride {short(stride)}")
    count = prod(shape)
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if count > storage.count or (count and last >= storage.count):
        raise refuse("torch.tensor", f"offset {offset}, shape {shape}, stride {stride} in {storage.count} values")
    steps = [step * storage.dtype.itemsize for step in stride]

    def load() -> NDArray:
        values = storage.values(count)
        begin = values[offset:]
        if values is not storage.kept and begin.flags.writeable and steps == _plain_steps(shape, storage.dtype):
            return begin[:count].reshape(shape)
        return np.lib.stride_tricks.as_strided(begin, shape, steps, writeable=False)

    return Tensor(storage.dtype, tuple(shape), load)


def _plain_steps(shape: tuple[int, ...], dtype: np.dtype) -> list[int]:
    """The steps, in bytes, of an array in C order."""
    return [prod(shape[axis + 1 :]) * dtype.itemsize for axis in range(len(shape))]


def _is_size(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < SIDE


def sides_of(sides: Any) -> tuple[int, ...]:
    if not isinstance(sides, tuple | list) or len(sides) > RANK or not all(map(_is_size, sides)):
        raise refuse("tensor.shape", short(sides))
    return tuple(sides)


def rebuild_parameter(tensor: Tensor, *rest: Any) -> Tensor:
    return tensor


def rebuild_of_type(rebuild: Callable[..., Tensor], kind: Any, arguments: tuple[Any, ...], state: Any) -> Tensor:
    """A tensor with attributes of its own, which are let go."""
    return rebuild(*arguments)


def text_as_bytes(text: str, encoding: str) -> bytes:
    """What Python 3 writes into a protocol 2 pickle for bytes."""
    return text.encode("latin-1")


class AllowedFunction:
    """A function that a pickle may call, and not change: BUILD would set attributes of the function itself."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise refuse("pickle.damaged", "it would change a function")


class DtypePlaceholder:
    """Stands in for numpy.dtype, of which numbers alone are taken."""

    def __init__(self, name: Any = "", *rest: Any) -> None:
        self.name = _word(name)
        self.order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = _word(state[1])

    @property
    def dtype(self) -> np.dtype:
        if self.name not in NUMPY_NAMES:
            raise refuse("tensor.type", f"an array is of type {self.name}")
        dtype = np.dtype(self.name)
        return dtype.newbyteorder(">") if self.order == ">" else dtype


def _word(value: Any) -> str:
    """A short text, which Python 2 wrote as bytes."""
    return value.decode() if isinstance(value, bytes) else value if isinstance(value, str) else short(value)


NUMPY_NAMES = {
    f"{kind}{size}" for kind, sizes in {"f": "248", "i": "1248", "u": "1248", "b": "1"}.items() for size in sizes
}
"""As numpy's pickles write the types of numbers."""


class ArrayPlaceholder:
    """Stands in for an array on its way out of a pickle; its bytes are looked at and nothing is run."""

    def __init__(self, *arguments: Any) -> None:
        self.tensor: Tensor | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, content = state
        content = content.encode("latin-1") if isinstance(content, str) else content
        flat = np.frombuffer(content, dtype.dtype)
        if not all(map(_is_size, shape)) or prod(shape) != flat.size:
            raise refuse("tensor.size", f"{flat.size} values are not an array of shape {short(shape)}")
        sides = tuple(shape)
        self.tensor = Tensor(flat.dtype, sides, lambda: flat.reshape(sides, order="F" if fortran else "C"))


def from_buffer(content: Any, dtype: Any, shape: tuple[int, ...], order: str, *rest: Any) -> ArrayPlaceholder:
    """How numpy pickles an array by protocol 5."""
    array = ArrayPlaceholder()
    array.__setstate__((1, shape, dtype, order == "F", bytes(content)))
    return array


class InertPlaceholder:
    """Stands in for what training scripts keep beside the weights: options, scores, devices. Holds and runs nothing."""

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass
