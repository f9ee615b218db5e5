"""`.msgpack`, the tree of arrays that `flax.serialization` writes, without Flax.

An array is the msgpack extension 1 around its shape, dtype name and bytes; one above 2**30 bytes is a map of flat
chunks (flax 0.12, serialization.py). The format has no room for metadata: where an architecture needs some, it is one
text more at the root of the tree, which `flax.serialization.from_bytes` does not look at.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import msgpack
import numpy as np
from numpy.typing import NDArray

from se_weights.files.documents import parse_metadata
from se_weights.files.limits import DEPTH, HEADER, NAME, RANK, TENSORS
from se_weights.files.stored import ALL_FLOATS, Format, Stored, Tensor
from se_weights.refusals import refuse

ARRAY = 1
SCALAR = 3
CHUNKS = "__msgpack_chunked_array__"
CHUNK_BYTES = 2**30
METADATA = "se_resnet.json"

MAP, TEXT, EXTENSION, WHOLE = "map", "text", "extension", "whole number"

TYPES = {
    **dict.fromkeys((*range(0x80, 0x90), 0xDE, 0xDF), MAP),
    **dict.fromkeys((*range(0xA0, 0xC0), 0xD9, 0xDA, 0xDB), TEXT),
    **dict.fromkeys((*range(0xC7, 0xCA), *range(0xD4, 0xD9)), EXTENSION),
    **dict.fromkeys((*range(0x80), *range(0xCC, 0xD4)), WHOLE),
}
"""What a value is, by its first byte (the msgpack specification)."""

EXTENSION_HEADER = {0xC7: 3, 0xC8: 4, 0xC9: 6, **dict.fromkeys(range(0xD4, 0xD9), 2)}
"""Bytes that stand before an extension's content, by its first byte; the last of them is its code."""

FIXED_EXTENSION = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
"""Bytes of an extension whose length is its first byte."""

ARRAY_HEADER = 4096
"""Bytes in which the shape and the dtype of an array must have ended."""

DTYPES = {
    **{
        np.dtype(kind).name: np.dtype(kind)
        for kind in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u4", "u2", "u1", "?")
    },
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}


@contextmanager
def open_msgpack(path: Path) -> Iterator[Stored]:
    with path.open("rb") as file:
        yield _Walk(file).stored()


class _Walk:
    """A walk through a file's tree that notes where its arrays lie, and passes over their bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.size = file.seek(0, 2)
        file.seek(0)
        self.values = msgpack.Unpacker(file, strict_map_key=False, max_buffer_size=max(self.size, 1))
        self.tensors: dict[str, Tensor] = {}
        self.metadata: dict[str, str] = {}

    def stored(self) -> Stored:
        if self.kind() is not MAP:
            raise refuse("msgpack.damaged", "it holds no tree")
        try:
            self.tree("", 0)
        except (ValueError, msgpack.UnpackException) as error:
            raise refuse(
                "msgpack.damaged", f"at offset {self.values.tell()}: {error or type(error).__name__}"
            ) from error
        if self.values.tell() != self.size:
            raise refuse("msgpack.damaged", f"{self.size - self.values.tell()} bytes follow its end")
        return Stored(self.tensors, self.metadata)

    def kind(self) -> str | None:
        """What the next value is."""
        first = self.bytes_at(self.values.tell(), 1)
        if not first:
            raise refuse("msgpack.damaged", f"it ends at {self.size}, where a value is due")
        return TYPES.get(first[0])

    def bytes_at(self, offset: int, count: int) -> bytes:
        """Some of the file, without moving the place that the unpacker reads at."""
        here = self.file.tell()
        self.file.seek(offset)
        content = self.file.read(count)
        self.file.seek(here)
        return content

    def tree(self, path: str, depth: int) -> None:
        if depth > DEPTH:
            raise refuse("msgpack.depth", f"{path} is more than {DEPTH} levels deep")
        keys: set[str] = set()
        chunked: dict[str, Any] = {}
        for number in range(self.values.read_map_header()):
            key = self.key(path, keys)
            if number == 0 and key == CHUNKS:
                self.values.skip()
                chunked = {CHUNKS: True}
            elif chunked:
                chunked[key] = self.numbered(f"{path}/{key}", key)
            else:
                self.value(f"{path}/{key}" if path else key, depth)
        if chunked:
            self.add(path, _joined(path, chunked))

    def key(self, path: str, keys: set[str]) -> str:
        if self.kind() is not TEXT:
            raise refuse("msgpack.key", f"one in {path or 'the root'}, at offset {self.values.tell()}")
        key = self.values.unpack()
        if key in keys or len(key) > NAME:
            raise refuse("msgpack.key", f"{key[:100]} in {path or 'the root'}")
        keys.add(key)
        return key

    def value(self, path: str, depth: int) -> None:
        match self.kind():
            case "map":
                self.tree(path, depth + 1)
            case "extension":
                self.add(path, self.array(path))
            case "text" if path == METADATA:
                begin = self.values.tell()
                self.values.skip()
                if self.values.tell() - begin > HEADER:
                    raise refuse("metadata.json", f"{self.values.tell() - begin:,} bytes are too many")
                self.metadata = parse_metadata(msgpack.unpackb(self.bytes_at(begin, self.values.tell() - begin)))
            case other:
                raise refuse("msgpack.array", f"{path} holds a {other or 'value'} where an array belongs")

    def add(self, path: str, tensor: Tensor) -> None:
        if len(self.tensors) >= TENSORS:
            raise refuse("tensor.count", f"more than {TENSORS:,}")
        if path in self.tensors:
            raise refuse("tensor.name", f"{path} stands twice")
        self.tensors[path] = tensor

    def array(self, path: str) -> Tensor:
        begin = self.values.tell()
        self.values.skip()
        end = self.values.tell()
        head = self.bytes_at(begin, ARRAY_HEADER)
        start = EXTENSION_HEADER[head[0]]
        length = FIXED_EXTENSION.get(head[0], int.from_bytes(head[1 : start - 1], "big"))
        if end != begin + start + length:  # the unpacker passes over what is cut off as if it were there
            raise refuse("msgpack.damaged", f"{path} needs {length:,} bytes from {begin + start}, of {self.size:,}")
        if head[start - 1] not in (ARRAY, SCALAR):
            raise refuse("msgpack.extension", f"{path} is the extension {head[start - 1]}")
        parts = msgpack.Unpacker(max_buffer_size=ARRAY_HEADER)
        parts.feed(head[start : end - begin])
        try:
            count, shape, name = parts.read_array_header(), parts.unpack(), parts.unpack()
        except (ValueError, msgpack.UnpackException, msgpack.OutOfData) as error:
            raise refuse("msgpack.array", f"{path} does not begin with a shape and a type") from error
        here = start + parts.tell()
        dtype = DTYPES.get(name) if isinstance(name, str) else None
        if dtype is None:
            raise refuse("tensor.type", f"{path} is of type {name!r}")
        whole = isinstance(shape, list) and all(type(side) is int and side >= 0 for side in shape)
        if not whole or len(shape) > RANK:
            raise refuse("tensor.shape", f"{path} has the shape {shape!r}")
        buffer = here + {0xC4: 2, 0xC5: 3, 0xC6: 5}.get(head[here] if here < len(head) else -1, 0)
        offset, held, needed = begin + buffer, end - begin - buffer, prod(shape) * dtype.itemsize
        if count != 3 or buffer == here or int.from_bytes(head[here + 1 : buffer], "big") != held:
            raise refuse("msgpack.array", f"{path} does not end with its bytes")
        if needed != held:
            raise refuse(
                "tensor.size", f"{path}: the shape {tuple(shape)} of {name} needs {needed} bytes, and {held} are there"
            )
        return Tensor(dtype, tuple(shape), lambda: self.load(offset, held, dtype).reshape(shape))

    def load(self, offset: int, count: int, dtype: np.dtype) -> NDArray:
        self.file.seek(offset)
        return np.fromfile(self.file, dtype, count // dtype.itemsize)

    def numbered(self, path: str, key: str) -> list[Any]:
        """The values of a map whose keys are "0", "1", ...: the shape, or the chunks."""
        if self.kind() is not MAP or key not in ("shape", "chunks"):
            raise refuse("msgpack.chunks", f"{path} is no part of a chunked array")
        values = {}
        keys: set[str] = set()
        for _ in range(self.values.read_map_header()):
            name = self.key(path, keys)
            if self.kind() is not (WHOLE if key == "shape" else EXTENSION):
                raise refuse("msgpack.chunks", f"{path}/{name} is no part of a chunked array")
            values[name] = self.values.unpack() if key == "shape" else self.array(f"{path}/{name}")
        if set(values) != {str(number) for number in range(len(values))}:
            raise refuse("msgpack.chunks", f"{path} has the parts {', '.join(sorted(values))}")
        return [values[str(number)] for number in range(len(values))]


def _joined(path: str, parts: dict[str, Any]) -> Tensor:
    shape, chunks = parts.get("shape"), parts.get("chunks")
    if shape is None or not chunks or len(shape) > RANK or any(side < 0 for side in shape):
        raise refuse("msgpack.chunks", f"{path} lacks a shape or chunks")
    if len({chunk.dtype for chunk in chunks}) > 1 or any(len(chunk.shape) != 1 for chunk in chunks):
        raise refuse("msgpack.chunks", f"those of {path} are not flat and of one type")
    if sum(chunk.shape[0] for chunk in chunks) != prod(shape):
        raise refuse("msgpack.chunks", f"those of {path} are not the {prod(shape)} values of the shape {tuple(shape)}")
    load = lambda: np.concatenate([chunk.load() for chunk in chunks]).reshape(shape)  # noqa: E731
    return Tensor(chunks[0].dtype, tuple(shape), load)


def write(path: Path, stored: Stored) -> None:
    tree: dict[str, Any] = {METADATA: json.dumps(dict(stored.metadata))} if stored.metadata else {}
    for name, tensor in stored.tensors.items():
        *branches, leaf = name.split("/")
        branch = tree
        for key in branches:
            branch = branch.setdefault(key, {})
        branch[leaf] = tensor
    with path.open("wb") as file:
        _write_tree(file, msgpack.Packer(), tree)


def _write_tree(file: BinaryIO, packer: Any, tree: dict[str, Any]) -> None:
    file.write(packer.pack_map_header(len(tree)))
    for key, branch in tree.items():
        file.write(packer.pack(key))
        if isinstance(branch, dict):
            _write_tree(file, packer, branch)
        elif isinstance(branch, Tensor):
            _write_array(file, packer, branch.load())
        else:
            file.write(packer.pack(branch))


def _write_array(file: BinaryIO, packer: Any, array: NDArray) -> None:
    if array.nbytes <= CHUNK_BYTES:
        content = msgpack.packb((array.shape, array.dtype.name, np.ascontiguousarray(array).tobytes()))
        file.write(packer.pack_ext_type(ARRAY, content))
        return
    length = CHUNK_BYTES // array.itemsize
    flat = array.reshape(-1)
    pieces = [Tensor.of(flat[start : start + length]) for start in range(0, flat.size, length)]
    shape = {str(axis): size for axis, size in enumerate(array.shape)}
    _write_tree(
        file, packer, {CHUNKS: True, "shape": shape, "chunks": {str(n): piece for n, piece in enumerate(pieces)}}
    )


MSGPACK = Format("flax msgpack", (".msgpack",), ("flax",), ALL_FLOATS, open_msgpack, write, "when needed")
