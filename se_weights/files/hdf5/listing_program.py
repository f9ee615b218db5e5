"""Lists what an HDF5 file holds and where in the file its values lie. Run as a program on files of strangers:

    python -I hdf5_listing.py FILE UNPACKED

The HDF5 library is written in C and has a long list of faults that a file can set off, so it never opens a stranger's
file in the user's process: this one has little time and memory, and may crash. Its answer, on standard output, is one
JSON object: the tensors, with the offsets of their bytes, or the reason (se_weights/refusals.py) for which the file is
refused. Values that are packed are unpacked into the file UNPACKED. Imports h5py and nothing of se_weights.
"""

import json
import os
import resource
import sys
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

os.environ.pop("HDF5_PLUGIN_PATH", None)
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import h5py
import numpy as np

SECONDS, BYTES = 8, 400 * 2**20
"""What a program that reads a stranger's file may take."""

OWN_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF}
"""The filters that come with h5py; any other is looked for in libraries on the disk."""

NAME_LISTS = ("layer_names", "weight_names")
TENSORS, DEPTH, RANK, TIMES_LARGER = 100_000, 64, 8, 100


CHUNK = 64 * 2**20
"""Bytes that the library unpacks at once."""


class Refused(Exception):
    """The file is refused, for a reason of se_weights/refusals.py."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def list_file(path: str, unpacked: BinaryIO, metadata: str) -> dict[str, Any]:
    """The tensors of a file by path, its lists of names by group, and its attribute `metadata`. Raises Refused."""
    where = ""
    try:
        # Opened by Python: the library itself would refuse a file without a name.
        with Path(path).open("rb") as content, h5py.File(content, "r") as file:
            tensors: dict[str, Any] = {}
            names: dict[str, Any] = {}
            root = h5py.h5g.open(file.id, b"/")
            for name, item in _walk(root, "", {_address(root)}, 0):
                where = f"at {name or 'its root'}: "
                if len(tensors) > TENSORS:
                    raise Refused("tensor.count", f"more than {TENSORS:,}")
                if isinstance(item, h5py.h5d.DatasetID):
                    tensors[name] = _tensor(name, item, unpacked)
                elif h5py.h5a.get_num_attrs(item):
                    names[name] = _name_lists(name, h5py.Group(item))
            text = file.attrs.get(metadata, "{}")
            return {"tensors": tensors, "names": names, "metadata": text if isinstance(text, str) else "[]"}
    except Refused:
        raise
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, UnicodeError, SystemError) as error:
        raise Refused("hdf5.damaged", f"{where}{error}") from error


def _walk(group: Any, prefix: str, seen: set[int], depth: int) -> Iterator[tuple[str, Any]]:
    """Groups and datasets by path, by h5py's own functions: its objects would take four times as long."""
    if depth > DEPTH:
        raise Refused("hdf5.link", f"{prefix} is more than {DEPTH} groups deep")
    yield prefix.removesuffix("/"), group
    for name in group:
        path = prefix + name.decode()
        if group.links.get_info(name).type != h5py.h5l.TYPE_HARD:
            raise Refused("hdf5.link", f"{path} is a link by name")
        item = h5py.h5o.open(group, name)
        if isinstance(item, h5py.h5d.DatasetID):
            yield path, item
        elif not isinstance(item, h5py.h5g.GroupID):
            raise Refused("hdf5.type", f"{path} is neither an array nor a group")
        elif (address := _address(item)) in seen:
            raise Refused("hdf5.link", f"{path} is a group that stands elsewhere too")
        else:
            seen.add(address)
            yield from _walk(item, f"{path}/", seen, depth + 1)


def _address(item: Any) -> int:
    return h5py.h5o.get_info(item).addr


def _tensor(name: str, dataset: Any, unpacked: BinaryIO) -> dict[str, Any]:
    made = dataset.get_create_plist()
    if made.get_external_count():
        raise Refused("hdf5.link", f"the values of {name} lie in other files: {os.fsdecode(made.get_external(0)[0])}")
    layout = made.get_layout()
    if layout == h5py.h5d.VIRTUAL:
        raise Refused("hdf5.link", f"the values of {name} lie in other datasets")
    bfloat16 = h5py.h5a.exists(dataset, b"dtype") and h5py.Dataset(dataset).attrs["dtype"] == "bfloat16"
    kinds = (h5py.h5t.TypeIntegerID, h5py.h5t.TypeFloatID, *((h5py.h5t.TypeOpaqueID,) if bfloat16 else ()))
    if not isinstance(dataset.get_type(), kinds):
        raise Refused("hdf5.type", f"{name} is of type {dataset.dtype}")
    dtype = dataset.dtype
    if dtype.itemsize > 8:
        raise Refused("tensor.type", f"{name} is of type {dtype}")
    chunk = made.get_chunk() if layout == h5py.h5d.CHUNKED else ()
    if chunk and prod(chunk) * dtype.itemsize > CHUNK:
        raise Refused("hdf5.limits", f"{name} lies in chunks of {prod(chunk) * dtype.itemsize:,} bytes")
    space = dataset.get_space()
    if space.get_simple_extent_type() == h5py.h5s.NULL or space.get_simple_extent_ndims() > RANK:
        raise Refused("tensor.shape", f"{name} has {space.get_simple_extent_ndims()} axes, or nothing at all")
    shape = dataset.shape
    filters = {made.get_filter(number)[0] for number in range(made.get_nfilters())}
    if beyond := filters - OWN_FILTERS:
        raise Refused("hdf5.filter", f"{name} by number {min(beyond)}")
    size, held = prod(shape) * dtype.itemsize, dataset.get_storage_size()
    if size > TIMES_LARGER * held and size > 2**20:
        raise Refused("file.bomb", f"{name} is declared with {size:,} bytes, and {held:,} are there")
    listed = {"shape": shape, "dtype": dtype.str, "bfloat16": bfloat16}
    offset = dataset.get_offset()
    if offset is not None and held == size:
        return {**listed, "offset": offset, "unpacked": False}
    _expect_written(name, dataset, chunk, size, held)
    content = np.ascontiguousarray(h5py.Dataset(dataset)[()])
    begin = unpacked.tell()
    unpacked.write(content.tobytes())
    return {**listed, "offset": begin, "unpacked": True}


def _expect_written(name: str, dataset: Any, chunk: tuple[int, ...], size: int, held: int) -> None:
    """HDF5 gives zeros for what was never written."""
    pieces = prod(-(-side // piece) for side, piece in zip(dataset.shape, chunk, strict=True)) if chunk else 0
    if (size and not held) or (chunk and dataset.get_num_chunks() != pieces):
        raise Refused("hdf5.damaged", f"values of {name} were never written")


def _name_lists(path: str, group: Any) -> dict[str, list[str]]:
    """Lists of names; Keras cuts one that an attribute cannot hold into `layer_names0`, `layer_names1`, ..."""
    lists = {}
    for word in NAME_LISTS:
        pieces = [word] if word in group.attrs else [f"{word}{number}" for number in range(len(group.attrs))]
        texts: list[str] = []
        for piece in pieces:
            if piece in group.attrs:
                texts += _texts(f"{path or 'the file'}: {piece}", group.attrs[piece])
        if any(piece in group.attrs for piece in pieces):
            lists[word] = texts
    return lists


def _texts(where: str, value: Any) -> list[str]:
    array = np.asarray(value)
    if array.ndim != 1 or not (array.dtype.kind in "SU" or array.dtype == object or array.size == 0):
        raise Refused("hdf5.layers", f"{where} is no list of names")
    names = [name.decode("utf-8", "replace") if isinstance(name, bytes) else name for name in array.tolist()]
    if not all(isinstance(name, str) for name in names):
        raise Refused("hdf5.layers", f"{where} is no list of names")
    return names


def main(path: str, unpacked: str, metadata: str) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_DATA, (BYTES, BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with Path(unpacked).open("wb") as file:
        try:
            answer = list_file(path, file, metadata)
        except Refused as error:
            answer = {"reason": error.reason, "detail": str(error)}
        except (MemoryError, RecursionError) as error:
            answer = {"reason": "hdf5.limits", "detail": type(error).__name__}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
