"""Unpickles tensors, arrays and plain containers. Any other name in the pickle stops it: nothing in a file can run."""

import json
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from se_weights.errors import UnsafeFile

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


Storages = Callable[[StorageType, str, int], NDArray]
"""Called with a storage's type, key and number of values; returns the values."""


class Unpickler(pickle.Unpickler):
    """An unpickler that knows the handful of names a state_dict or a dictionary of numpy arrays needs.

    Texts of Python 2 are bytes to Python 3; latin-1 keeps them as they are.
    """

    def __init__(self, file: BinaryIO, storages: Storages) -> None:
        super().__init__(file, encoding="latin-1")
        self.storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGES:
            return StorageType(np.dtype(STORAGES[name]))
        if (module, name) not in _ALLOWED:
            raise UnsafeFile(f"its pickle asks for {module}.{name}, which a state_dict never needs")
        return _ALLOWED[module, name]

    def persistent_load(self, identity: Any) -> NDArray:
        _, kind, key, _, count, *view = identity
        if not isinstance(kind, StorageType) or not isinstance(count, int) or count < 0 or any(view):
            raise ValueError("a storage is not of a known type")
        return self.storages(kind, str(key), count)


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, NDArray]]:
    """Tensors by the keys that lead to them; numbers, texts and lists beside them are a training run's notes."""
    if isinstance(tree, _Array):
        tree = tree.array
    if isinstance(tree, np.ndarray):
        yield path, tree
    elif isinstance(tree, Mapping):
        for key, branch in tree.items():
            yield from leaves(branch, f"{path}/{key}" if path else str(key))
    elif not path:
        raise ValueError(f"it holds a {type(tree).__name__}, not a state_dict")


def state_metadata(tree: Any) -> Iterator[tuple[str, str]]:
    """What `se_torch` leaves in the metadata of its state_dicts, where torch keeps the versions of modules."""
    if not isinstance(tree, Mapping):
        return
    modules = getattr(tree, "_metadata", None)
    for facts in modules.values() if isinstance(modules, Mapping) else ():
        if isinstance(facts, Mapping) and isinstance(facts.get("architecture"), Mapping):
            yield "architecture", json.dumps(facts["architecture"])
    for branch in tree.values():
        yield from state_metadata(branch)


def _rebuild_tensor(
    storage: NDArray, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *rest: Any
) -> NDArray:
    if len(shape) != len(stride) or offset < 0 or any(size < 0 for size in (*shape, *stride)):
        raise ValueError(f"a tensor cannot have the shape {shape} and the stride {stride}")
    if prod(shape) > storage.size:
        raise ValueError(f"a tensor of shape {shape} does not fit its storage of {storage.size} values")
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if prod(shape) and last >= storage.size:
        raise ValueError(f"a tensor of shape {shape} reaches past its storage of {storage.size} values")
    steps = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False).copy()


def _rebuild_parameter(tensor: NDArray, *rest: Any) -> NDArray:
    return tensor


class _Dtype:
    """Stands in for numpy.dtype, of which numbers alone are taken."""

    def __init__(self, name: Any = "", *rest: Any) -> None:
        self.name = name.decode() if isinstance(name, bytes) else str(name)
        self.order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1]
        self.order = order.decode() if isinstance(order, bytes) else str(order)

    @property
    def dtype(self) -> np.dtype:
        dtype = np.dtype(self.name)
        dtype = dtype.newbyteorder(">") if self.order == ">" else dtype
        if dtype.kind not in "fiub":
            raise ValueError(f"an array of {self.name} holds no weights")
        return dtype


class _Array:
    """Stands in for an array on its way out of a pickle; its bytes are looked at and nothing is run."""

    def __init__(self, *arguments: Any) -> None:
        self.array: NDArray | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, content = state
        content = content.encode("latin-1") if isinstance(content, str) else content
        flat = np.frombuffer(content, dtype.dtype)
        if prod(shape) != flat.size:
            raise ValueError(f"{flat.size} values are not an array of shape {shape}")
        self.array = flat.reshape(shape, order="F" if fortran else "C").copy()


class _Note:
    """Stands in for what training scripts keep beside the weights: options, scores, devices. Holds and runs nothing."""

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _bytes(text: str, encoding: str) -> bytes:
    """What Python 3 writes into a protocol 2 pickle for bytes."""
    return text.encode("latin-1")


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): tuple,
    ("_codecs", "encode"): _bytes,
    ("numpy", "dtype"): _Dtype,
    **dict.fromkeys(
        [
            ("numpy", "ndarray"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
        ],
        _Array,
    ),
    **dict.fromkeys(
        [
            ("argparse", "Namespace"),
            ("collections", "defaultdict"),
            ("numpy._core.multiarray", "scalar"),
            ("numpy.core.multiarray", "scalar"),
            ("torch", "device"),
        ],
        _Note,
    ),
}
