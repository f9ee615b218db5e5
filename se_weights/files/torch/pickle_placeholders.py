"""Placeholders for the objects of torch and numpy in a pickle. They hold data, and run nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from reprlib import repr as short
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from se_weights.files.contents import Tensor
from se_weights.files.limits import AXIS, RANK
from se_weights.files.torch.inert_objects import InertPlaceholder, TensorClass, inert_class
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
    """A placeholder for torch's storage classes, such as `torch.FloatStorage`.

    Attributes:
        dtype: The type of the values.
    """

    dtype: np.dtype


class Storage:
    """The values of one or several tensors.

    Args:
        dtype: Their type.
        count: How many there are.
        read: Reads all of them.
    """

    def __init__(self, dtype: np.dtype, count: int, read: Callable[[], NDArray]) -> None:
        self.dtype = dtype
        self.count = count
        self.read = read
        self.cached: NDArray | None = None

    def values(self, needed: int) -> NDArray:
        """All values, for a tensor that needs so many of them. They are cached if other tensors may need others."""
        if self.cached is None and needed < self.count:
            self.cached = self.read()
        return self.read() if self.cached is None else self.cached


def rebuild_tensor(
    storage: Storage | InertPlaceholder, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *rest: Any
) -> Tensor | InertPlaceholder:
    """Replaces `torch._utils._rebuild_tensor_v2`; offset and stride are in values.

    Args:
        storage: The values.
        offset: Where the tensor begins in the storage, in values.
        shape: The shape of the tensor.
        stride: The step along each axis, in values.
        *rest: Further arguments of torch's function, which are ignored.

    Returns:
        The tensor; a placeholder if its storage is of a type that weights do not have.

    Raises:
        WeightsError: The arguments are invalid, or the tensor would reach past the end of its storage.
    """
    if isinstance(storage, InertPlaceholder):
        return storage
    if not isinstance(storage, Storage):
        raise refuse("torch.tensor", f"one of shape {short(shape)} has no storage")
    valid = all(_is_size(number) for number in (offset, *shape, *stride))
    if not valid or len(shape) != len(stride) or len(shape) > RANK:
        raise refuse("torch.tensor", f"offset {short(offset)}, shape {short(shape)}, stride {short(stride)}")
    count = prod(shape)
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if count > storage.count or (count and last >= storage.count):
        raise refuse(
            "torch.tensor", f"offset {offset}, shape {shape}, stride {stride} in a storage of {storage.count} values"
        )
    steps = [step * storage.dtype.itemsize for step in stride]

    def load() -> NDArray:
        values = storage.values(count)
        start = values[offset:]
        if values is not storage.cached and start.flags.writeable and steps == _contiguous_steps(shape, storage.dtype):
            return start[:count].reshape(shape)
        return np.lib.stride_tricks.as_strided(start, shape, steps, writeable=False)

    return Tensor(storage.dtype, tuple(shape), load)


def _contiguous_steps(shape: tuple[int, ...], dtype: np.dtype) -> list[int]:
    """The strides, in bytes, of an array in C order."""
    return [prod(shape[axis + 1 :]) * dtype.itemsize for axis in range(len(shape))]


def _is_size(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < AXIS


def torch_size(sizes: Any) -> tuple[int, ...]:
    """Replaces `torch.Size`."""
    if not isinstance(sizes, tuple | list) or len(sizes) > RANK or not all(map(_is_size, sizes)):
        raise refuse("tensor.shape", short(sizes))
    return tuple(sizes)


def rebuild_parameter(tensor: Tensor, *rest: Any) -> Tensor:
    """Replaces `torch._utils._rebuild_parameter`."""
    return tensor


def rebuild_from_type(
    rebuild: Callable[..., Tensor | InertPlaceholder], kind: Any, arguments: tuple[Any, ...], state: Any
) -> Tensor | InertPlaceholder:
    """Replaces `torch._tensor._rebuild_from_type_v2`. The attributes of the tensor are ignored.

    Args:
        rebuild: The placeholder of the function that makes the tensor.
        kind: The class of the tensor; an object of an unknown one is not read.
        arguments: The arguments of `rebuild`.
        state: The attributes of the tensor, which are ignored.
    """
    tensor = rebuild(*arguments)
    return tensor if kind is TensorClass else kind(tensor)


def byte_array(content: bytes) -> bytes:
    """Replaces `bytearray`, with which Python pickles one. Refuses a number, which would be the size to allocate."""
    if not isinstance(content, bytes):
        raise refuse("pickle.global", f"builtins.bytearray of {short(content)}")
    return content


def encode_latin1(text: str, encoding: str) -> bytes:
    """Replaces `_codecs.encode`, with which Python 3 writes bytes into a pickle of protocol 2.

    Args:
        text: The bytes as text, one character each.
        encoding: The name of the encoding, which is ignored: Python writes "latin1".
    """
    return text.encode("latin-1")


class DtypePlaceholder:
    """A placeholder for `numpy.dtype`, for types of numbers."""

    def __init__(self, name: Any = "", *rest: Any) -> None:
        self.name = _short_text(name)
        self.order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = _short_text(state[1])

    @property
    def dtype(self) -> np.dtype:
        """The type. Raises WeightsError if it is not one of numbers."""
        if self.name not in NUMPY_NAMES:
            raise refuse("tensor.type", f"an array is of type {self.name}")
        dtype = np.dtype(self.name)
        return dtype.newbyteorder(">") if self.order == ">" else dtype


def _short_text(value: Any) -> str:
    """A string, which Python 2 wrote as bytes."""
    return value.decode() if isinstance(value, bytes) else value if isinstance(value, str) else short(value)


NUMPY_NAMES = {
    f"{kind}{size}" for kind, sizes in {"f": "248", "i": "1248", "u": "1248", "b": "1"}.items() for size in sizes
}
"""The names of types of numbers in pickles of numpy."""


class ArrayPlaceholder:
    """A placeholder for `numpy.ndarray`, whose values are in the pickle itself.

    Attributes:
        tensor: The tensor, once the pickle has set it.
        unread: A placeholder instead if its values are not numbers.
    """

    def __init__(self, *arguments: Any) -> None:
        self.tensor: Tensor | None = None
        self.unread: InertPlaceholder | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, content = state
        if dtype.name not in NUMPY_NAMES:
            self.unread = inert_class(f"an array of type {dtype.name}", "tensor.type")()
            return
        content = content.encode("latin-1") if isinstance(content, str) else content
        flat = np.frombuffer(content, dtype.dtype)
        if not all(map(_is_size, shape)) or prod(shape) != flat.size:
            raise refuse("tensor.size", f"{flat.size} values do not have the shape {short(shape)}")
        sizes = tuple(shape)
        self.tensor = Tensor(flat.dtype, sizes, lambda: flat.reshape(sizes, order="F" if fortran else "C"))


def from_buffer(content: Any, dtype: Any, shape: tuple[int, ...], order: str, *rest: Any) -> ArrayPlaceholder:
    """Replaces `numpy._core.numeric._frombuffer`, with which numpy pickles an array by protocol 5.

    Args:
        content: The bytes of the values.
        dtype: The type of the values.
        shape: The shape of the array.
        order: "F" for column-major values, "C" for row-major ones.
        *rest: Further arguments of numpy's function, which are ignored.
    """
    array = ArrayPlaceholder()
    array.__setstate__((1, shape, dtype, order == "F", bytes(content)))
    return array


def reconstruct_array(
    reconstruct: Callable[..., ArrayPlaceholder], arguments: tuple[Any, ...], state: tuple[Any, ...], *rest: Any
) -> ArrayPlaceholder:
    """Replaces `jax._src.array._reconstruct_array`, with which JAX pickles an array as one of numpy.

    Args:
        reconstruct: The placeholder of the function that makes numpy's array.
        arguments: Its arguments.
        state: The state of numpy's array.
        *rest: Further arguments of JAX's function, which are ignored.
    """
    array = ArrayPlaceholder()
    array.__setstate__(state)
    return array
