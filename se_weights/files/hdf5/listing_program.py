"""Lists the tensors of an HDF5 file: their types, shapes, and the offsets at which their values are stored.

A program of se_weights/files/processes/sandbox.py. Values that are compressed or chunked in the file are written,
decompressed, to a second file. Refused is what weights never need: links by name, values in other files or datasets,
plugin filters.
"""

from collections.abc import Callable, Iterator, Mapping
from math import prod
from os import fsdecode
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

Refuse = Callable[[str, str], Exception]

BUILT_IN_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF}
"""The filters that come with h5py; HDF5 would load any other from a library on the disk."""

NAME_LISTS = ("layer_names", "weight_names")
"""The attributes in which Keras 2 lists the names of a file's layers and of a layer's weights."""

TENSORS, DEPTH, RANK, TIMES_LARGER = 100_000, 64, 8, 100
"""As in se_weights/files/limits.py."""

CHUNK = 64 * 2**20
"""Bytes of the largest chunk: HDF5 decompresses a chunk as one block of memory."""


def run(request: Mapping[str, Any], refuse: Refuse) -> dict[str, Any]:
    """Lists a file.

    Args:
        request: `path`, the file; `decompressed`, the second file; `texts`, attributes of the root that are texts.
        refuse: Makes the exception to raise from the id of a refusal and its detail.

    Returns:
        `tensors` by path; the `names` that Keras 2 lists, by group and attribute; those of the `texts` that there are.
    """
    where = ""
    try:
        # Opened by Python, since HDF5 cannot open a temporary file without a name.
        with (
            Path(request["decompressed"]).open("wb") as decompressed,
            Path(request["path"]).open("rb") as content,
            h5py.File(content, "r") as file,
        ):
            tensors: dict[str, Any] = {}
            names: dict[str, Any] = {}
            root = h5py.h5g.open(file.id, b"/")
            for path, item in _walk(root, "", {_address(root)}, 0, refuse):
                where = f"at {path or 'its root'}: "
                if len(tensors) > TENSORS:
                    raise refuse("tensor.count", f"more than {TENSORS:,}")
                if isinstance(item, h5py.h5d.DatasetID):
                    tensors[path] = _tensor(path, item, decompressed, refuse)
                elif h5py.h5a.get_num_attrs(item):
                    names[path] = _name_lists(path, h5py.Group(item), refuse)
            texts = {name: file.attrs[name] for name in request["texts"] if name in file.attrs}
            texts = {name: text if isinstance(text, str) else "[]" for name, text in texts.items()}
            return {"tensors": tensors, "names": names, "texts": texts}
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, UnicodeError, SystemError) as error:
        raise refuse("hdf5.damaged", f"{where}{error}") from error


def _walk(group: Any, prefix: str, seen: set[int], depth: int, refuse: Refuse) -> Iterator[tuple[str, Any]]:
    """The groups and datasets by path. With h5py's low-level functions: its objects take four times as long."""
    if depth > DEPTH:
        raise refuse("hdf5.link", f"{prefix} is more than {DEPTH} groups deep")
    yield prefix.removesuffix("/"), group
    for name in group:
        path = prefix + name.decode()
        if group.links.get_info(name).type != h5py.h5l.TYPE_HARD:
            raise refuse("hdf5.link", f"{path} is a link by name")
        item = h5py.h5o.open(group, name)
        if isinstance(item, h5py.h5d.DatasetID):
            yield path, item
        elif not isinstance(item, h5py.h5g.GroupID):
            raise refuse("hdf5.type", f"{path} is neither an array nor a group")
        elif (address := _address(item)) in seen:
            raise refuse("hdf5.link", f"{path} is a group that is also stored under another path")
        else:
            seen.add(address)
            yield from _walk(item, f"{path}/", seen, depth + 1, refuse)


def _address(item: Any) -> int:
    return h5py.h5o.get_info(item).addr


def _tensor(path: str, dataset: Any, decompressed: BinaryIO, refuse: Refuse) -> dict[str, Any]:
    """The type and shape of a dataset, and where its values are stored, in the file or in the second file."""
    creation = dataset.get_create_plist()
    if creation.get_external_count():
        other_file = fsdecode(creation.get_external(0)[0])
        raise refuse("hdf5.link", f"the values of {path} are stored in another file: {other_file}")
    layout = creation.get_layout()
    if layout == h5py.h5d.VIRTUAL:
        raise refuse("hdf5.link", f"the values of {path} are stored in other datasets")
    bfloat16 = h5py.h5a.exists(dataset, b"dtype") and h5py.Dataset(dataset).attrs["dtype"] == "bfloat16"
    numeric = (h5py.h5t.TypeIntegerID, h5py.h5t.TypeFloatID, *((h5py.h5t.TypeOpaqueID,) if bfloat16 else ()))
    if not isinstance(dataset.get_type(), numeric):
        raise refuse("hdf5.type", f"{path} is of type {dataset.dtype}")
    dtype = dataset.dtype
    if dtype.itemsize > 8:
        raise refuse("tensor.type", f"{path} is of type {dtype}")
    chunk = creation.get_chunk() if layout == h5py.h5d.CHUNKED else ()
    if chunk and prod(chunk) * dtype.itemsize > CHUNK:
        raise refuse("hdf5.limits", f"{path} is stored in chunks of {prod(chunk) * dtype.itemsize:,} bytes")
    space = dataset.get_space()
    if space.get_simple_extent_type() == h5py.h5s.NULL or space.get_simple_extent_ndims() > RANK:
        raise refuse("tensor.shape", f"{path} has {space.get_simple_extent_ndims()} axes, or no values at all")
    shape = dataset.shape
    filters = {creation.get_filter(number)[0] for number in range(creation.get_nfilters())}
    if others := filters - BUILT_IN_FILTERS:
        raise refuse("hdf5.filter", f"{path} with filter {min(others)}")
    size, stored = prod(shape) * dtype.itemsize, dataset.get_storage_size()
    if size > TIMES_LARGER * stored and size > 2**20:
        raise refuse("file.bomb", f"{path} is declared with {size:,} bytes, and {stored:,} are stored")
    entry = {"shape": shape, "dtype": dtype.str, "bfloat16": bfloat16}
    offset = dataset.get_offset()
    if offset is not None and stored == size:
        return {**entry, "offset": offset, "decompressed": False}
    _check_written(path, dataset, chunk, size, stored, refuse)
    values = np.ascontiguousarray(h5py.Dataset(dataset)[()])
    offset = decompressed.tell()
    decompressed.write(values.tobytes())
    return {**entry, "offset": offset, "decompressed": True}


def _check_written(path: str, dataset: Any, chunk: tuple[int, ...], size: int, stored: int, refuse: Refuse) -> None:
    """Refuses values that were never written, for which HDF5 returns zeros."""
    chunks = prod(-(-side // step) for side, step in zip(dataset.shape, chunk, strict=True)) if chunk else 0
    if (size and not stored) or (chunk and dataset.get_num_chunks() != chunks):
        raise refuse("hdf5.damaged", f"values of {path} were never written")


def _name_lists(path: str, group: Any, refuse: Refuse) -> dict[str, list[str]]:
    """The lists of names of a group. Keras splits one that an attribute cannot hold: `layer_names0`, `layer_names1`."""
    lists = {}
    for attribute in NAME_LISTS:
        split = [f"{attribute}{number}" for number in range(len(group.attrs))]
        keys = [key for key in ([attribute] if attribute in group.attrs else split) if key in group.attrs]
        names = [name for key in keys for name in _names(f"{path or 'the file'}: {key}", group.attrs[key], refuse)]
        if keys:
            lists[attribute] = names
    return lists


def _names(where: str, value: Any, refuse: Refuse) -> list[str]:
    array = np.asarray(value)
    names = [
        name.decode("utf-8", "replace") if isinstance(name, bytes) else name for name in array.reshape(-1).tolist()
    ]
    if array.ndim != 1 or not all(isinstance(name, str) for name in names):
        raise refuse("hdf5.layers", f"{where} is not a list of names")
    return names
