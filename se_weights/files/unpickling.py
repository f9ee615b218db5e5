"""Unpickles tensors, arrays and plain containers. Any other name in the pickle stops it: nothing in a file can run."""

import json
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from math import prod
from reprlib import repr as short
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from se_weights.errors import WeightsError
from se_weights.files.limits import DEPTH, FACTS, NAME, NODES, RANK, SIDE
from se_weights.files.opcodes import globals_of
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


Storages = Callable[[StorageType, str, int], Storage]
"""Called with a storage's type, key and number of values."""


def unpickle(file: BinaryIO, storages: Storages) -> Any:
    """The tree in the next pickle of a file, which is left behind it."""
    begin = file.tell()
    if any(name.startswith("torch.nn.modules.") for name in globals_of(file)):
        raise refuse("pickle.module", "it names classes of torch.nn.modules")
    end = file.tell()
    file.seek(begin)
    tree = unpickle_our_own(file, storages)
    file.seek(end)
    return tree


def unpickle_our_own(file: BinaryIO, storages: Storages) -> Any:
    """The tree in a pickle that this process wrote, without a look at it before."""
    try:
        return _Unpickler(file, storages).load()
    except WeightsError:
        raise
    except Exception as error:  # whatever a call with hostile arguments may raise
        raise refuse("pickle.damaged", f"{type(error).__name__}: {error}") from error


class _Unpickler(pickle.Unpickler):
    """An unpickler that knows the handful of names a state_dict or a dictionary of numpy arrays needs.

    Texts of Python 2 are bytes to Python 3; latin-1 keeps them as they are.
    """

    def __init__(self, file: BinaryIO, storages: Storages) -> None:
        super().__init__(file, encoding="latin-1")
        self.storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGES:
            return StorageType(np.dtype(STORAGES[name]))
        if (module == "torch" and name in DTYPES) or module.startswith("omegaconf."):
            return _Note
        if (module, name) in DENSE_ONLY or module.startswith(("torch.distributed.", "torch._subclasses.")):
            raise refuse("torch.kind", f"{module}.{name}")
        if (module, name) not in _ALLOWED:
            raise refuse("pickle.global", f"{module}.{name}")
        return _ALLOWED[module, name]

    def persistent_load(self, identity: Any) -> Storage:
        match identity:
            case ("storage", StorageType() as kind, key, _, int(count)) if count >= 0:
                return self.storages(kind, str(key), count)
            case ("storage", StorageType() as kind, key, _, int(count), None) if count >= 0:
                return self.storages(kind, str(key), count)
        raise refuse("torch.storage", f"{short(identity)} names none")


def leaves(tree: Any) -> dict[str, Tensor]:
    """Tensors by the keys that lead to them; numbers, texts and lists beside them are a training run's notes."""
    if not isinstance(tree, Mapping | Tensor | _Array):
        raise refuse("pickle.content", f"it is a {type(tree).__name__}")
    found: dict[str, Tensor] = {}
    for count, (path, tensor) in enumerate(_walk(tree, "", 0)):
        if count > NODES:
            raise refuse("pickle.size", f"it has more than {NODES:,} branches")
        if tensor is not None and path in found:
            raise refuse("tensor.name", f"{path} stands twice")
        if tensor is not None:
            found[path] = tensor
    return found


def _walk(tree: Any, path: str, depth: int) -> Iterator[tuple[str, Tensor | None]]:
    if depth > DEPTH:
        raise refuse("pickle.depth", f"{path[:200]} is more than {DEPTH} levels deep")
    if len(path) > NAME:
        raise refuse("tensor.name", path)
    tree = tree.tensor if isinstance(tree, _Array) else tree
    yield path, tree if isinstance(tree, Tensor) else None
    if isinstance(tree, dict):
        for key, branch in dict.items(tree):
            yield from _walk(branch, f"{path}/{key}" if path else str(key), depth + 1)


def state_metadata(tree: Any, depth: int = 0) -> dict[str, str]:
    """What `se_torch` leaves in the metadata of its state_dicts, where torch keeps the versions of modules."""
    if not isinstance(tree, dict) or depth > 2:
        return {}
    modules = getattr(tree, "_metadata", None)
    for facts in modules.values() if isinstance(modules, dict) else ():
        if isinstance(facts, dict) and isinstance(facts.get("architecture"), dict):
            return {"architecture": _written(facts["architecture"])}
    found = (state_metadata(branch, depth + 1) for branch in dict.values(tree))
    return next(filter(None, found), {})


def _written(facts: dict[Any, Any]) -> str:
    """As JSON, piece by piece: what contains a thing many times over is short only in a pickle."""
    try:
        pieces = list(islice(json.JSONEncoder().iterencode(facts), FACTS))
    except (TypeError, ValueError, RecursionError) as error:
        raise refuse("metadata.json", f"an impossible architecture: {error}") from error
    if len(pieces) == FACTS:
        raise refuse("metadata.json", "an architecture has more facts than any has")
    return "".join(pieces)


def _rebuild_tensor(
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


def _sides(sides: Any) -> tuple[int, ...]:
    if not isinstance(sides, tuple | list) or len(sides) > RANK or not all(map(_is_size, sides)):
        raise refuse("tensor.shape", short(sides))
    return tuple(sides)


def _rebuild_parameter(tensor: Tensor, *rest: Any) -> Tensor:
    return tensor


def _rebuild_of_type(rebuild: Callable[..., Tensor], kind: Any, arguments: tuple[Any, ...], state: Any) -> Tensor:
    """A tensor with attributes of its own, which are let go."""
    return rebuild(*arguments)


def _bytes(text: str, encoding: str) -> bytes:
    """What Python 3 writes into a protocol 2 pickle for bytes."""
    return text.encode("latin-1")


class _Function:
    """A function that a pickle may call, and not change: BUILD would set attributes of the function itself."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise refuse("pickle.damaged", "it would change a function")


class _Dtype:
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


class _Array:
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


def _from_buffer(content: Any, dtype: Any, shape: tuple[int, ...], order: str, *rest: Any) -> _Array:
    """How numpy pickles an array by protocol 5."""
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", bytes(content)))
    return array


class _Note:
    """Stands in for what training scripts keep beside the weights: options, scores, devices. Holds and runs nothing."""

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


DTYPES = {
    *("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"),
    *("strided", "contiguous_format", "channels_last", "preserve_format"),
}
"""Notes of torch's own: a dtype, a layout."""

DENSE_ONLY = {
    ("torch._utils", name)
    for name in (
        "_rebuild_sparse_tensor",
        "_rebuild_sparse_csr_tensor",
        "_rebuild_nested_tensor",
        "_rebuild_qtensor",
        "_rebuild_meta_tensor_no_storage",
        "_rebuild_wrapper_subclass",
        "_rebuild_device_tensor_from_numpy",
        "_rebuild_tensor_v3",
    )
}
"""How torch pickles tensors whose values are no plain storage, or of a type that holds no weights."""

_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _Function(_rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Function(_rebuild_tensor),
    ("torch._utils", "_rebuild_parameter"): _Function(_rebuild_parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): _Function(_rebuild_parameter),
    ("torch._tensor", "_rebuild_from_type_v2"): _Function(_rebuild_of_type),
    ("numpy.core.numeric", "_frombuffer"): _Function(_from_buffer),
    ("numpy._core.numeric", "_frombuffer"): _Function(_from_buffer),
    ("torch", "Size"): _Function(_sides),
    ("_codecs", "encode"): _Function(_bytes),
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
            ("__builtin__", "dict"),
            ("__builtin__", "list"),
            ("__builtin__", "set"),
            ("__builtin__", "int"),
            ("__builtin__", "float"),
            ("__builtin__", "str"),
            ("builtins", "dict"),
            ("builtins", "list"),
            ("builtins", "set"),
            ("builtins", "int"),
            ("builtins", "float"),
            ("builtins", "str"),
            ("argparse", "Namespace"),
            ("collections", "Counter"),
            ("collections", "defaultdict"),
            ("datetime", "datetime"),
            ("numpy._core.multiarray", "scalar"),
            ("numpy.core.multiarray", "scalar"),
            ("pathlib", "Path"),
            ("pathlib", "PosixPath"),
            ("pathlib", "PurePosixPath"),
            ("pathlib", "WindowsPath"),
            ("torch", "Tensor"),
            ("torch", "device"),
            ("torch.nn.parameter", "Parameter"),
            ("typing", "Any"),
        ],
        _Note,
    ),
}
