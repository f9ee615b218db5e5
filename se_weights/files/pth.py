"""`.pth` and `.pt`, torch's zip of a pickle and raw storages, without torch; and what came before the zip.

Metadata travels in a record of its own, which torch.load does not look at.
Layouts: torch 2.13, torch/serialization.py and torch/_utils.py.
"""

import json
import pickle
import struct
import zipfile
import zlib
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from se_weights.errors import MalformedFile, UnsafeFile, UnsupportedFormat
from se_weights.files.pickling import pickle_state_dict
from se_weights.files.stored import ALL_FLOATS, Format, Stored
from se_weights.files.unpickling import STORAGES, StorageType, Unpickler, leaves, state_metadata

METADATA = "se_resnet.json"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""What torch.save began a file with before 1.6."""

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


def read(path: Path) -> Stored:
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"PK"
        return _read_zip(path) if zipped else _read_pickles(path)
    except UnsafeFile as error:
        raise UnsafeFile(f"{path}: {error}") from error
    except UNREADABLE as error:
        raise MalformedFile(f"{path} is not a readable torch file: {error}") from error


def _read_zip(path: Path) -> Stored:
    with zipfile.ZipFile(path) as archive:
        root = _root(path, archive)
        record = f"{root}/{METADATA}"
        metadata = json.loads(archive.read(record)) if record in archive.namelist() else {}
        storages = partial(_zipped_storage, archive, root)
        tree = Unpickler(BytesIO(archive.read(f"{root}/data.pkl")), cache(storages)).load()
        return Stored(dict(leaves(tree)), metadata or dict(state_metadata(tree)))


def _zipped_storage(archive: zipfile.ZipFile, root: str, kind: StorageType, key: str, count: int) -> NDArray:
    record = archive.read(f"{root}/data/{key}")
    if len(record) != count * kind.dtype.itemsize:
        raise ValueError(f"the storage {key} is declared with {count} values and holds {len(record)} bytes")
    return np.frombuffer(record, kind.dtype)


def _read_pickles(path: Path) -> Stored:
    """torch's layout from before 1.6: pickles one after the other, then the storages; or one pickle of numpy arrays.

    The storages follow the tensors that lie in them, so that pickle is read twice: for their sizes, and with them.
    """
    with path.open("rb") as file:
        first = Unpickler(file, _no_storage).load()
        if first != LEGACY_MAGIC:
            return Stored(dict(leaves(first)))
        for _ in ("protocol version", "byte order and sizes"):
            Unpickler(file, _no_storage).load()
        begin = file.tell()
        declared: dict[str, tuple[StorageType, int]] = {}

        def declare(kind: StorageType, key: str, count: int) -> NDArray:
            if count * kind.dtype.itemsize > path.stat().st_size:
                raise ValueError(f"the storage {key} is declared with {count} values, more than the file can hold")
            declared[key] = kind, count
            return np.zeros(count, kind.dtype)

        Unpickler(file, declare).load()
        keys = Unpickler(file, _no_storage).load()
        storages = {key: _legacy_storage(file, *declared[key]) for key in map(str, keys)}
        file.seek(begin)
        tree = Unpickler(file, lambda kind, key, count: storages[key]).load()
        return Stored(dict(leaves(tree)), dict(state_metadata(tree)))


def _legacy_storage(file: BinaryIO, kind: StorageType, count: int) -> NDArray:
    (written,) = struct.unpack("<q", file.read(8))
    content = file.read(count * kind.dtype.itemsize)
    if written != count or len(content) != count * kind.dtype.itemsize:
        raise ValueError(f"a storage is declared with {count} values and holds {len(content)} bytes")
    return np.frombuffer(content, kind.dtype)


def _no_storage(kind: StorageType, key: str, count: int) -> NDArray:
    raise ValueError(f"the storage {key} stands where there can be none")


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


PTH = Format("torch", (".pth", ".pt", ".pkl", ".pth.tar"), ("torch",), ALL_FLOATS, read, write)
