"""Folders of torch's DCP in its own files: parts of tensors in `.distcp` files, and a pickle that tells their places.

`torch.distributed.checkpoint.save` writes them (torch 2.13, distributed/checkpoint/filesystem.py and metadata.py). The
objects of the pickle are placeholders, of which only the fields are read; each part is an archive as torch.save writes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from reprlib import repr as short
from typing import Any

import numpy as np
from numpy.typing import NDArray

from se_weights.files.contents import FileContents, Tensor, UnreadObject
from se_weights.files.folders import DCP_METADATA, check_inside, is_file_name
from se_weights.files.limits import PICKLE
from se_weights.files.torch.inert_objects import InertPlaceholder
from se_weights.files.torch.joined_shards import joined_tensor
from se_weights.files.torch.pickle_placeholders import STORAGES, torch_size
from se_weights.files.torch.pickled_tree import objects_in, settings_in
from se_weights.files.torch.pth import no_storage, zip_contents, zip_tree
from se_weights.files.torch.unpickler import unpickle
from se_weights.files.zip_archive import Archive
from se_weights.refusals import refuse

CLASSES = "torch.distributed.checkpoint."
"""Where the classes are defined whose fields are read."""

DTYPES = {f"torch.{dtype.name}": dtype for dtype in map(np.dtype, STORAGES.values())}
"""The types of the tensors that are read, by torch's names."""

Sizes = tuple[int, ...]
Place = tuple[str, int, int]
"""The name of a file; and where a part of a tensor begins in it and its size, in bytes."""


@contextmanager
def open_contents(folder: Path) -> Iterator[FileContents]:
    """Opens a folder: the tensors of its metadata, whose parts are joined when they are loaded. Raises WeightsError."""
    metadata = _fields(_unpickle(folder / DCP_METADATA), "metadata.Metadata")
    places = dict(_places(metadata.get("storage_data")))
    tensors: dict[str, Tensor] = {}
    unread: dict[str, UnreadObject] = {}
    others: dict[str, Any] = {}
    sizes = {file: _file_size(folder, file) for file in {file for file, _, _ in places.values()}}
    for (name, _), (file, begin, size) in places.items():
        if begin + size > sizes[file]:
            raise refuse("shards.pieces", f"one of {name} reaches past the end of {file}")
    for name, entry in _items(metadata.get("state_dict_metadata")):
        path = _tree_path(name, metadata.get("planner_data"))
        if _is(entry, "metadata.BytesStorageMetadata"):
            others[path] = _object(folder, places.get((name, ())))
            continue
        if path in tensors or path in unread:
            raise refuse("tensor.name", f"{path} occurs twice")
        fields = _fields(entry, "metadata.TensorStorageMetadata")
        dtype = _dtype_name(fields.get("properties"))
        if dtype not in DTYPES:
            unread[path] = UnreadObject(dtype, "torch.kind", 1)
            continue
        parts = [_fields(chunk, "metadata.ChunkStorageMetadata") for chunk in _sequence(fields.get("chunks"))]
        offsets = [torch_size(part.get("offsets")) for part in parts]
        if missing := [offset for offset in offsets if (name, offset) not in places]:
            raise refuse("shards.missing", f"the part of {name} at {missing[0]}")
        shards = [
            (offset, _part(folder, name, DTYPES[dtype], torch_size(part.get("sizes")), places[name, offset]))
            for offset, part in zip(offsets, parts, strict=True)
        ]
        tensors[path] = joined_tensor(name, shards)
    options = [{path.rpartition("/")[2]: value} for path, value in others.items()]
    yield FileContents(
        tensors,
        training=True,
        unread=unread,
        objects=tuple(sorted(objects_in(options))),
        settings=list(settings_in(options)),
    )


def _unpickle(path: Path) -> Any:
    if path.stat().st_size > PICKLE:
        raise refuse("pickle.size", f"{path.name} has {path.stat().st_size:,} bytes")
    check_inside(path.parent, path)
    return unpickle(BytesIO(path.read_bytes()), no_storage)


def _file_size(folder: Path, name: str) -> int:
    if not is_file_name(name):
        raise refuse("shards.path", f"it names {name!r}, and the parts must be in its folder")
    check_inside(folder, folder / name)
    if not (folder / name).is_file():
        raise refuse("shards.missing", name)
    return (folder / name).stat().st_size


def _places(storage_data: Any) -> Iterator[tuple[tuple[str, Sizes], Place]]:
    """The name of each tensor with the offset of one of its parts, and the place of that part."""
    for key, value in _items(storage_data):
        index, info = _fields(key, "metadata.MetadataIndex"), _fields(value, "filesystem._StorageInfo")
        if info.get("transform_descriptors"):
            raise refuse("torch.distributed", f"{short(index.get('fqn'))} is stored with transforms")
        match index, info:
            case {"fqn": str(name)}, {"relative_path": str(file), "offset": int(begin), "length": int(size)} if (
                begin >= 0 and size >= 0
            ):
                yield (name, torch_size(index.get("offset") or ())), (file, begin, size)
            case _:
                raise refuse("torch.distributed", f"the place of a part is {short(info)}")


def _part(folder: Path, name: str, dtype: np.dtype, shape: Sizes, place: Place) -> Tensor:
    """A part of a tensor: an archive inside a file."""
    file, begin, size = place

    def load() -> NDArray:
        with (folder / file).open("rb") as opened:
            tensors = zip_contents(Archive(opened, begin, size)).tensors
            if [(tensor.dtype, tensor.shape) for tensor in tensors.values()] != [(dtype, shape)]:
                raise refuse("shards.pieces", f"{file} does not contain {dtype} values of shape {shape} for {name}")
            return next(iter(tensors.values())).load()

    return Tensor(dtype, shape, load)


def _object(folder: Path, place: Place | None) -> Any:
    """What was saved beside the tensors: a number, a text, or the options of the training."""
    if place is None:
        return None
    file, begin, size = place
    with (folder / file).open("rb") as opened:
        return zip_tree(Archive(opened, begin, size))


def _tree_path(name: Any, paths: Any) -> str:
    """The keys that lead to a tensor in the tree that was saved, joined by "/"; torch joins them by "." in its name."""
    match name, paths.get(name) if isinstance(paths, dict) else None:
        case str(), tuple() as path if all(isinstance(key, str | int) for key in path):
            return "/".join(map(str, path))
        case str(), None:
            return name
    raise refuse("torch.distributed", f"the path of {short(name)} is not one of keys")


def _dtype_name(properties: Any) -> str:
    """The name of torch's type, which stands first in the state of `TensorProperties`."""
    match properties:
        case InertPlaceholder(content=[*_, (type() as kind, *_)]) if issubclass(kind, InertPlaceholder):
            return kind.name
    raise refuse("torch.distributed", f"the properties of a tensor are {short(properties)}")


def _is(value: Any, name: str) -> bool:
    return isinstance(value, InertPlaceholder) and value.name == CLASSES + name


def _fields(value: Any, name: str) -> Mapping[str, Any]:
    """The fields of an object of DCP."""
    if _is(value, name) and isinstance(value.content[-1], dict):
        return value.content[-1]
    raise refuse("torch.distributed", f"it contains {getattr(value, 'name', type(value).__name__)} in place of {name}")


def _items(table: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(table, dict):
        return dict.items(table)
    raise refuse("torch.distributed", f"a table of its metadata is {type(table).__name__}")


def _sequence(value: Any) -> Sequence[Any]:
    if isinstance(value, list | tuple) and value:
        return value
    raise refuse("torch.distributed", f"the parts of a tensor are {short(value)}")
