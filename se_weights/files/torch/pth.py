"""`.pth` and `.pt`, torch's zip of a pickle and raw storages, without torch; and what came before the zip.

Metadata travels in a record of its own, which torch.load does not look at.
Layouts: torch 2.13, torch/serialization.py and torch/_utils.py.
"""

import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from se_weights.files.json_document import parse_metadata
from se_weights.files.limits import PICKLE
from se_weights.files.stored import FileContents, bytes_of, values_at
from se_weights.files.torch.pickle_placeholders import STORAGES, Storage, StorageType
from se_weights.files.torch.pickle_writer import pickle_state_dict
from se_weights.files.torch.pickled_tree import leaves, state_metadata
from se_weights.files.torch.unpickler import Storages, unpickle, unpickle_our_own
from se_weights.files.zip_archive import Archive, open_archive
from se_weights.refusals import refuse

METADATA = "se_resnet.json"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""What torch.save began a file with before 1.6."""

PROGRAMS = {"constants.pkl": "torch.script", "archive_format": "torch.export"}
"""Records that only a program's archive has."""

FLAT_PROGRAMS = b"ET"
"""What stands at the fifth byte of an ExecuTorch program."""

ALIGNMENT, ZIP_HEADER, EXTRA_HEADER = 64, 30, 4
"""Bytes: torch's alignment of storages, a zip record's fixed header, and that of the padding inside it."""


@contextmanager
def open_contents(path: Path) -> Iterator[FileContents]:
    with path.open("rb") as file:
        first = file.read(8)
        file.seek(0)
        if first[4:6] == FLAT_PROGRAMS:
            raise refuse("torch.executorch", f"it begins with {first!r}")
        if first.startswith(b"PK"):
            with open_archive(path) as archive:
                yield _zipped(archive)
        else:
            yield _stacked(file)


@contextmanager
def reopen_contents(path: Path) -> Iterator[FileContents]:
    with open_archive(path) as archive:
        yield _zipped(archive, unpickle_our_own)


def _zipped(archive: Archive, unpickling: Callable[[BinaryIO, Storages], Any] = unpickle) -> FileContents:
    root = _root(archive)
    if archive.records[f"{root}/data.pkl"].size > PICKLE:
        raise refuse("pickle.size", f"it is declared with {archive.records[f'{root}/data.pkl'].size:,} bytes")

    @cache
    def storage(kind: StorageType, key: str, count: int) -> Storage:
        name = f"{root}/data/{key}"
        if name not in archive.records:
            raise refuse("torch.storage", f"there is no record {name}")
        if archive.records[name].size != count * kind.dtype.itemsize:
            found = f"{archive.records[name].size} bytes are there"
            raise refuse("torch.storage", f"{name}: {count} values of {kind.dtype} are declared, and {found}")
        return Storage(kind.dtype, count, lambda: archive.read(name).view(kind.dtype))

    content = BytesIO(archive.read(f"{root}/data.pkl").data)
    tree = unpickling(content, storage)
    if rest := content.read():
        raise refuse("pickle.damaged", f"{len(rest)} bytes follow its end")
    tensors = leaves(tree)
    record = f"{root}/{METADATA}"
    metadata = parse_metadata(archive.read_document(record)) if record in archive.records else state_metadata(tree)
    return FileContents(tensors, metadata, training=True)


def _root(archive: Archive) -> str:
    """The folder of the archive that holds everything; torch names it after the file that was first saved."""
    for record, reason in PROGRAMS.items():
        if any(name.rpartition("/")[2] == record for name in archive.records):
            raise refuse(reason, f"it holds {record}")
    roots = [name.removesuffix("/data.pkl") for name in archive.records if name.endswith("/data.pkl")]
    if len(roots) != 1 or "/" in roots[0]:
        raise refuse("torch.archive", f"it holds {len(roots)} records data.pkl, where one in a folder belongs")
    order = f"{roots[0]}/byteorder"
    if order in archive.records and archive.read_document(order) != b"little":
        raise refuse("torch.big-endian", f"{order} is {archive.read_document(order)[:20]!r}")
    return roots[0]


def _stacked(file: BinaryIO) -> FileContents:
    """torch's layout from before 1.6: pickles one after the other, then the storages; or one pickle of numpy arrays."""
    first = unpickle(file, _no_storage)
    if first != LEGACY_MAGIC:
        if rest := file.read(1):
            raise refuse("pickle.damaged", f"{rest!r} and perhaps more follows its end")
        return FileContents(leaves(first))
    for _ in ("protocol version", "byte order and sizes"):
        unpickle(file, _no_storage)
    declared: dict[str, tuple[StorageType, int]] = {}
    begins: dict[str, int] = {}

    @cache
    def storage(kind: StorageType, key: str, count: int) -> Storage:
        if declared.setdefault(key, (kind, count)) != (kind, count):
            raise refuse("torch.storage", f"the storage {key} is declared twice, in two ways")
        return Storage(kind.dtype, count, lambda: values_at(file, begins[key], kind.dtype, count))

    tree = unpickle(file, storage)
    keys = unpickle(file, _no_storage)
    if not isinstance(keys, list) or set(map(str, keys)) != set(declared):
        raise refuse("torch.storage", "those that are listed are not those that tensors lie in")
    for key in map(str, keys):
        kind, count = declared[key]
        head = file.read(8)
        if len(head) != 8 or struct.unpack("<q", head) != (count,):
            raise refuse("torch.storage", f"the storage {key} is declared with {count} values, and begins otherwise")
        begins[key] = file.tell()
        end = begins[key] + count * kind.dtype.itemsize
        if end > _size(file):
            raise refuse("torch.storage", f"the storage {key} of {count} values reaches past the end of the file")
        file.seek(end)
    return FileContents(leaves(tree), state_metadata(tree), training=True)


def _size(file: BinaryIO) -> int:
    here = file.tell()
    end = file.seek(0, 2)
    file.seek(here)
    return end


def _no_storage(kind: StorageType, key: str, count: int) -> Storage:
    raise refuse("torch.storage", f"the storage {key} stands where there can be none")


def write(path: Path, stored: FileContents) -> None:
    names = {np.dtype(dtype): name for name, dtype in STORAGES.items()}
    declared = {name: (names[tensor.dtype], tensor.shape) for name, tensor in stored.tensors.items()}
    with path.open("wb") as file, zipfile.ZipFile(file, "w") as archive:

        def record(name: str, content: bytes | memoryview) -> None:
            archive.writestr(_aligned(name, file.tell()), content)

        record("data.pkl", pickle_state_dict(declared))
        record("byteorder", b"little")
        for key, tensor in enumerate(stored.tensors.values()):
            record(f"data/{key}", bytes_of(tensor.load()))
        record(METADATA, json.dumps(dict(stored.metadata)).encode())
        record("version", b"3\n")


def _aligned(name: str, offset: int) -> zipfile.ZipInfo:
    """A record, to be written at the offset, whose content begins on a multiple of 64: torch.load can then map it."""
    info = zipfile.ZipInfo(f"archive/{name}")
    padding = -(offset + ZIP_HEADER + len(info.filename) + EXTRA_HEADER) % ALIGNMENT
    info.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
    return info
