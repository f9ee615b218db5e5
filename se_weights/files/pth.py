"""`.pth` and `.pt`, torch's zip of a pickle and raw storages, without torch.

Read by an unpickler that knows the handful of names a state_dict needs and refuses every other one, so nothing in the
file can run. Metadata travels in a record of its own, which torch.load does not look at.
Layout: torch 2.13, torch/serialization.py and torch/_utils.py.
"""

import json
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from se_weights.errors import MalformedFile, UnsafeFile, UnsupportedFormat
from se_weights.files.pickling import pickle_state_dict
from se_weights.files.stored import ALL_FLOATS, Format, Stored

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
METADATA = "se_resnet.json"

UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    RuntimeError,
)
"""What zipfile and pickle raise for damaged files, deep nesting and unknown compression among them."""

ALIGNMENT, ZIP_HEADER, EXTRA_HEADER = 64, 30, 4
"""Bytes: torch's alignment of storages, a zip record's fixed header, and that of the padding inside it."""


@dataclass(frozen=True)
class _StorageType:
    dtype: np.dtype


def read(path: Path) -> Stored:
    with path.open("rb") as file:
        magic = file.read(2)
    if magic == b"\x80\x02":
        raise UnsupportedFormat(f"{path} has torch's layout from before 1.6: load it and save it again with torch.save")
    try:
        with zipfile.ZipFile(path) as archive:
            root = _root(path, archive)
            record = f"{root}/{METADATA}"
            metadata = json.loads(archive.read(record)) if record in archive.namelist() else {}
            return Stored(dict(_leaves(_Unpickler(archive, root).load(), "")), metadata)
    except UnsafeFile as error:
        raise UnsafeFile(f"{path}: {error}") from error
    except UNREADABLE as error:
        raise MalformedFile(f"{path} is not a readable torch file: {error}") from error


def _root(path: Path, archive: zipfile.ZipFile) -> str:
    """The folder of the archive that holds everything; torch names it after the file that was first saved."""
    names = archive.namelist()
    roots = [name.removesuffix("/data.pkl") for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
    if any(name.endswith("/constants.pkl") for name in names):
        raise UnsupportedFormat(f"{path} is a TorchScript archive: save the module's state_dict() instead")
    if len(roots) != 1:
        raise MalformedFile(f"{path} is a zip archive but not torch's: it holds {len(roots)} data.pkl records")
    if archive.namelist().count(f"{roots[0]}/data.pkl") != 1:
        raise MalformedFile(f"{path} holds several records of the same name")
    if f"{roots[0]}/byteorder" in names and archive.read(f"{roots[0]}/byteorder") != b"little":
        raise UnsupportedFormat(f"{path} is big-endian")
    return roots[0]


class _Unpickler(pickle.Unpickler):
    """Unpickles tensors and plain containers; any other name in the pickle stops it."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(BytesIO(archive.read(f"{root}/data.pkl")))
        self.archive = archive
        self.root = root
        self.storages: dict[str, NDArray] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGES:
            return _StorageType(np.dtype(STORAGES[name]))
        if (module, name) not in _ALLOWED:
            raise UnsafeFile(f"its pickle asks for {module}.{name}, which a state_dict never needs")
        return _ALLOWED[module, name]

    def persistent_load(self, identity: Any) -> NDArray:
        _, kind, key, _, count = identity
        if not isinstance(kind, _StorageType):
            raise ValueError("a storage is not of a known type")
        if key not in self.storages:
            record = self.archive.read(f"{self.root}/data/{key}")
            if len(record) != count * kind.dtype.itemsize:
                raise ValueError(f"the storage {key} is declared with {count} values and holds {len(record)} bytes")
            self.storages[key] = np.frombuffer(record, kind.dtype)
        return self.storages[key]


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


class _Note:
    """Stands in for what training scripts keep beside the weights: options, scores, devices. Holds and runs nothing."""

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): tuple,
    **dict.fromkeys(
        [
            ("_codecs", "encode"),
            ("argparse", "Namespace"),
            ("collections", "defaultdict"),
            ("numpy", "dtype"),
            ("numpy._core.multiarray", "scalar"),
            ("numpy.core.multiarray", "scalar"),
            ("torch", "device"),
        ],
        _Note,
    ),
}


def _leaves(tree: Any, path: str) -> Iterator[tuple[str, NDArray]]:
    """Tensors by the keys that lead to them; numbers, texts and lists beside them are a training run's notes."""
    if isinstance(tree, np.ndarray):
        yield path, tree
    elif isinstance(tree, Mapping):
        for key, branch in tree.items():
            yield from _leaves(branch, f"{path}/{key}" if path else str(key))
    elif not path:
        raise ValueError(f"it holds a {type(tree).__name__}, not a state_dict")


def write(path: Path, stored: Stored) -> None:
    names = {np.dtype(dtype): name for name, dtype in STORAGES.items()}
    declared = {name: (names[tensor.dtype], tensor.shape) for name, tensor in stored.tensors.items()}
    with path.open("wb") as file, zipfile.ZipFile(file, "w") as archive:
        records: dict[str, bytes] = {
            "data.pkl": pickle_state_dict(declared),
            "byteorder": b"little",
            **{
                f"data/{key}": np.ascontiguousarray(tensor).tobytes()
                for key, tensor in enumerate(stored.tensors.values())
            },
            METADATA: json.dumps(dict(stored.metadata)).encode(),
            "version": b"3\n",
        }
        for name, content in records.items():
            archive.writestr(_aligned(name, file.tell()), content)


def _aligned(name: str, offset: int) -> zipfile.ZipInfo:
    """A record, to be written at the offset, whose content begins on a multiple of 64: torch.load can then map it."""
    info = zipfile.ZipInfo(f"archive/{name}")
    padding = -(offset + ZIP_HEADER + len(info.filename) + EXTRA_HEADER) % ALIGNMENT
    info.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
    return info


PTH = Format("torch", (".pth", ".pt"), ("torch", "timm"), ALL_FLOATS, read, write)
