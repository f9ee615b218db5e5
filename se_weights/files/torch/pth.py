"""`.pth` and `.pt` files, torch's zip archives of a pickle and raw storages, read and written without torch.

Also read are the files that torch wrote before 1.6, and pickles of numpy arrays. Our metadata are in a record of their
own, which torch.load ignores. Layouts: torch 2.13, torch/serialization.py and torch/_utils.py.
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

from se_weights.files.contents import FileContents, array_bytes, read_values
from se_weights.files.json_document import parse_metadata
from se_weights.files.limits import PICKLE
from se_weights.files.torch.pickle_placeholders import STORAGES, Storage, StorageType
from se_weights.files.torch.pickle_writer import pickle_state_dict
from se_weights.files.torch.pickled_tree import contents_of_tree
from se_weights.files.torch.unpickler import FindStorage, unpickle, unpickle_trusted
from se_weights.files.zip_archive import Archive, open_archive
from se_weights.refusals import refuse

METADATA = "se_resnet.json"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle in a file that torch.save wrote before 1.6."""

PROGRAMS = {"constants.pkl": "torch.script", "archive_format": "torch.export"}
"""Records that only archives of programs have, and the id of the refusal."""

EXECUTORCH = b"ET"
"""The fifth and sixth byte of an ExecuTorch program."""

ALIGNMENT, ZIP_HEADER, EXTRA_HEADER = 64, 30, 4
"""Bytes: torch's alignment of storages, the fixed header of a zip record, and the header of its padding."""


@contextmanager
def open_contents(path: Path) -> Iterator[FileContents]:
    """Opens a file, whose tensors can be loaded until it is closed. Raises WeightsError."""
    with path.open("rb") as file:
        first = file.read(8)
        file.seek(0)
        if first[4:6] == EXECUTORCH:
            raise refuse("torch.executorch", f"it begins with {first!r}")
        if first.startswith(b"PK"):
            with open_archive(path) as archive:
                yield zip_contents(archive)
        else:
            yield _legacy_contents(file)


@contextmanager
def reopen_contents(path: Path) -> Iterator[FileContents]:
    """Opens a file that this process wrote."""
    with open_archive(path) as archive:
        yield zip_contents(archive, unpickle_trusted)


def zip_contents(archive: Archive, load: Callable[[BinaryIO, FindStorage], Any] = unpickle) -> FileContents:
    """The contents of an open archive, whose tensors can be loaded until it is closed.

    Args:
        archive: The archive.
        load: Unpickles the record of the pickle.

    Raises:
        WeightsError: The archive is not one of torch.save, or is damaged.
    """
    tree = zip_tree(archive, load)
    record = f"{_root(archive)}/{METADATA}"
    metadata = parse_metadata(archive.read_document(record)) if record in archive.records else {}
    return contents_of_tree(tree, metadata, training=True)


def zip_tree(archive: Archive, load: Callable[[BinaryIO, FindStorage], Any] = unpickle) -> Any:
    """The unpickled tree of an open archive, whose tensors can be loaded until it is closed.

    Args:
        archive: The archive.
        load: Unpickles the record of the pickle.

    Raises:
        WeightsError: The archive is not one of torch.save, or is damaged.
    """
    root = _root(archive)
    if archive.records[f"{root}/data.pkl"].size > PICKLE:
        raise refuse("pickle.size", f"it is declared with {archive.records[f'{root}/data.pkl'].size:,} bytes")

    @cache
    def find_storage(kind: StorageType, key: str, count: int) -> Storage:
        name = f"{root}/data/{key}"
        if name not in archive.records:
            raise refuse("torch.storage", f"the record {name} is missing")
        if archive.records[name].size != count * kind.dtype.itemsize:
            detail = f"{count} values of {kind.dtype} are declared, and it has {archive.records[name].size} bytes"
            raise refuse("torch.storage", f"{name}: {detail}")
        return Storage(kind.dtype, count, lambda: archive.read(name).view(kind.dtype))

    content = BytesIO(archive.read(f"{root}/data.pkl").data)
    tree = load(content, find_storage)
    if rest := content.read():
        raise refuse("pickle.damaged", f"{len(rest)} bytes follow its end")
    return tree


def _root(archive: Archive) -> str:
    """The one folder at the top of the archive, which torch names after the file that was first saved."""
    for record, reason in PROGRAMS.items():
        if any(name.rpartition("/")[2] == record for name in archive.records):
            raise refuse(reason, f"it contains {record}")
    roots = [name.removesuffix("/data.pkl") for name in archive.records if name.endswith("/data.pkl")]
    if len(roots) != 1 or "/" in roots[0]:
        raise refuse("torch.archive", f"it contains {len(roots)} records data.pkl, not one in a folder")
    order = f"{roots[0]}/byteorder"
    if order in archive.records and archive.read_document(order) != b"little":
        raise refuse("torch.big-endian", f"{order} is {archive.read_document(order)[:20]!r}")
    return roots[0]


def _legacy_contents(file: BinaryIO) -> FileContents:
    """The layout before torch 1.6: pickles one after the other, then the storages; or one pickle of numpy arrays."""
    first = unpickle(file, no_storage)
    if first != LEGACY_MAGIC:
        if rest := file.read(1):
            raise refuse("pickle.damaged", f"{rest!r} and perhaps more follows its end")
        return contents_of_tree(first, {}, training=False)
    for _ in ("protocol version", "byte order and sizes"):
        unpickle(file, no_storage)
    declared: dict[str, tuple[StorageType, int]] = {}
    offsets: dict[str, int] = {}

    @cache
    def find_storage(kind: StorageType, key: str, count: int) -> Storage:
        if declared.setdefault(key, (kind, count)) != (kind, count):
            raise refuse("torch.storage", f"the storage {key} is declared twice, with different types or sizes")
        return Storage(kind.dtype, count, lambda: read_values(file, offsets[key], kind.dtype, count))

    tree = unpickle(file, find_storage)
    keys = unpickle(file, no_storage)
    if not isinstance(keys, list) or set(map(str, keys)) != set(declared):
        raise refuse("torch.storage", "the listed storages are not those of the tensors")
    for key in map(str, keys):
        kind, count = declared[key]
        size = file.read(8)
        if len(size) != 8 or struct.unpack("<q", size) != (count,):
            raise refuse("torch.storage", f"the storage {key} is declared with {count} values, and has another size")
        offsets[key] = file.tell()
        end = offsets[key] + count * kind.dtype.itemsize
        if end > _size(file):
            raise refuse("torch.storage", f"the storage {key} of {count} values reaches past the end of the file")
        file.seek(end)
    return contents_of_tree(tree, {}, training=True)


def _size(file: BinaryIO) -> int:
    position = file.tell()
    size = file.seek(0, 2)
    file.seek(position)
    return size


def no_storage(kind: StorageType, key: str, count: int) -> Storage:
    """Stands for the storages of a pickle that has none. Raises WeightsError."""
    raise refuse("torch.storage", f"a pickle that cannot refer to storages refers to {key}")


def write(path: Path, contents: FileContents) -> None:
    """Writes a file that `torch.load(path, weights_only=True, mmap=True)` reads as a state dict."""
    names = {np.dtype(dtype): name for name, dtype in STORAGES.items()}
    declared = {name: (names[tensor.dtype], tensor.shape) for name, tensor in contents.tensors.items()}
    with path.open("wb") as file, zipfile.ZipFile(file, "w") as archive:

        def write_record(name: str, content: bytes | memoryview) -> None:
            archive.writestr(_aligned(name, file.tell()), content)

        write_record("data.pkl", pickle_state_dict(declared))
        write_record("byteorder", b"little")
        for key, tensor in enumerate(contents.tensors.values()):
            write_record(f"data/{key}", array_bytes(tensor.load()))
        write_record(METADATA, json.dumps(dict(contents.metadata)).encode())
        write_record("version", b"3\n")


def _aligned(name: str, offset: int) -> zipfile.ZipInfo:
    """A record to be written at the offset, padded so that its content is aligned, as `mmap` of torch.load needs it."""
    info = zipfile.ZipInfo(f"archive/{name}")
    padding = -(offset + ZIP_HEADER + len(info.filename) + EXTRA_HEADER) % ALIGNMENT
    info.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
    return info
