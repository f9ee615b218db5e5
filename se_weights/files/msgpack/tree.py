"""Reads the tree in a msgpack file: the names, types, shapes and offsets of its arrays, but not their values."""

from math import prod
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from se_weights.files.contents import FileContents, Tensor, UnreadObject, read_values
from se_weights.files.json_document import parse_metadata
from se_weights.files.limits import DEPTH, HEADER, NAME, RANK, TENSORS
from se_weights.files.msgpack.headers import (
    ARRAY,
    BYTES,
    EXTENSION,
    INTEGER,
    MAP,
    NUMBER,
    TEXT,
    TRUE,
    HeaderReader,
)
from se_weights.refusals import refuse

NDARRAY, SCALAR = 1, 3
"""Flax's codes of extension types."""

CHUNKS = "__msgpack_chunked_array__"
METADATA = "se_resnet.json"

DTYPES = {
    **{
        np.dtype(kind).name: np.dtype(kind)
        for kind in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u4", "u2", "u1", "?")
    },
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}


class TreeReader:
    """Reads the tree of one file, which must stay open while tensors are loaded."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.values = HeaderReader(file, 0, file.seek(0, 2), "msgpack.damaged")
        self.tensors: dict[str, Tensor] = {}
        self.metadata: dict[str, str] = {}
        self.unread: dict[str, UnreadObject] = {}

    def read(self) -> FileContents:
        """The contents of the file. Raises WeightsError."""
        kind, count = self.values.read_header()
        if kind is not MAP:
            raise refuse("msgpack.damaged", "it does not contain a tree")
        self._read_map("", count, 0)
        if self.values.offset != self.values.end:
            raise refuse("msgpack.damaged", f"{self.values.end - self.values.offset} bytes follow its end")
        return FileContents(self.tensors, self.metadata, unread=self.unread)

    def _read_map(self, path: str, count: int, depth: int) -> None:
        """Reads a map of so many entries, after its header."""
        if depth > DEPTH:
            raise refuse("msgpack.depth", f"{path} is more than {DEPTH} levels deep")
        keys: set[str] = set()
        chunked: dict[str, Any] | None = None
        for number in range(count):
            key = self._read_key(path, keys)
            inner = f"{path}/{key}" if path else key
            kind, length = self.values.read_header()
            if number == 0 and key == CHUNKS:
                if kind is not TRUE:
                    raise refuse("msgpack.chunks", f"{inner} is a {kind or 'value'}")
                chunked = {}
            elif chunked is not None:
                chunked[key] = self._read_numbered(inner, key, kind, length)
            else:
                self._read_value(inner, kind, length, depth)
        if chunked is not None:
            self._add(path, _join_chunks(path, **chunked))

    def _read_key(self, path: str, keys: set[str]) -> str:
        offset, (kind, length) = self.values.offset, self.values.read_header()
        if kind not in (TEXT, INTEGER):  # NNX numbers the layers of a list
            raise refuse("msgpack.key", f"one in {path or 'the root'}, at offset {offset:,}")
        key = str(length) if kind is INTEGER else self.values.read_text(min(length, NAME + 1))
        if key in keys or len(key) > NAME:
            raise refuse("msgpack.key", f"{key[:100]} in {path or 'the root'}")
        keys.add(key)
        return key

    def _read_value(self, path: str, kind: str | None, length: int, depth: int) -> None:
        if kind is MAP:
            self._read_map(path, length, depth + 1)
        elif kind is EXTENSION:
            self._add(path, self._read_array(path, length))
        elif kind is TEXT and path == METADATA:
            if length > HEADER:
                raise refuse("metadata.json", f"{length:,} bytes are too many")
            self.metadata = parse_metadata(self.values.read_text(length))
        elif kind in (TEXT, BYTES, NUMBER, INTEGER, TRUE):  # a step, a score or a name beside the weights
            self.values.skip(length if kind in (TEXT, BYTES, NUMBER) else 0)
            self.unread[path] = UnreadObject(f"a {kind}, not an array", "msgpack.array", 0)
        else:
            raise refuse("msgpack.array", f"{path} is a {kind or 'value'}, not an array")

    def _add(self, path: str, tensor: Tensor) -> None:
        if len(self.tensors) >= TENSORS:
            raise refuse("tensor.count", f"more than {TENSORS:,}")
        if path in self.tensors:
            raise refuse("tensor.name", f"{path} occurs twice")
        self.tensors[path] = tensor

    def _read_array(self, path: str, length: int) -> Tensor:
        """Reads an extension of so many bytes, after its header: a shape, a type and the values."""
        code = self.values.read(1)[0]
        start = self.values.offset
        self.values.skip(length)
        if code not in (NDARRAY, SCALAR):
            raise refuse("msgpack.extension", f"{path} is of extension type {code}")
        fields = HeaderReader(
            self.file, start, start + length, "msgpack.array", self.values.buffer, self.values.buffer_offset
        )
        if fields.read_header() != (ARRAY, 3):
            raise refuse("msgpack.array", f"{path} does not consist of a shape, a type and values")
        shape = _read_shape(path, fields)
        kind, count = fields.read_header()
        name = fields.read_text(count) if kind is TEXT and count <= NAME else None
        if name not in DTYPES:
            raise refuse("tensor.type", f"{path} is of type {name or kind!r}")
        kind, size = fields.read_header()
        offset, dtype = fields.offset, DTYPES[name]
        if kind is not BYTES or offset + size != fields.end:
            raise refuse("msgpack.array", f"{path} does not end with the bytes of its values")
        if (needed := prod(shape) * dtype.itemsize) != size:
            raise refuse("tensor.size", f"{path}: the shape {shape} of {name} needs {needed} bytes, and has {size}")
        return Tensor(dtype, shape, lambda: read_values(self.file, offset, dtype, prod(shape)).reshape(shape))

    def _read_numbered(self, path: str, key: str, kind: str | None, count: int) -> list[Any]:
        """Reads a map with the keys "0", "1", ..., after its header: the shape, or the chunks, of a chunked array."""
        if kind is not MAP or key not in ("shape", "chunks"):
            raise refuse("msgpack.chunks", f"{path} does not belong to a chunked array")
        values = {}
        keys: set[str] = set()
        for _ in range(count):
            name = self._read_key(path, keys)
            kind, length = self.values.read_header()
            if kind is not (INTEGER if key == "shape" else EXTENSION):
                raise refuse("msgpack.chunks", f"{path}/{name} does not belong to a chunked array")
            values[name] = length if kind is INTEGER else self._read_array(f"{path}/{name}", length)
        if set(values) != {str(number) for number in range(len(values))}:
            raise refuse("msgpack.chunks", f"{path} has the keys {', '.join(sorted(values))}")
        return [values[str(number)] for number in range(len(values))]


def _read_shape(path: str, fields: HeaderReader) -> tuple[int, ...]:
    kind, rank = fields.read_header()
    sizes = [fields.read_header() for _ in range(rank)] if kind is ARRAY and rank <= RANK else None
    if sizes is None or any(kind is not INTEGER for kind, _ in sizes):
        raise refuse("tensor.shape", f"{path} has a shape that is a {kind or 'value'} of {rank:,}")
    return tuple(size for _, size in sizes)


def _join_chunks(path: str, shape: list[int] | None = None, chunks: list[Tensor] | None = None) -> Tensor:
    if shape is None or not chunks or len(shape) > RANK:
        raise refuse("msgpack.chunks", f"{path} has no shape or no chunks")
    if len({chunk.dtype for chunk in chunks}) > 1 or any(len(chunk.shape) != 1 for chunk in chunks):
        raise refuse("msgpack.chunks", f"those of {path} are not flat or not of the same type")
    if sum(chunk.shape[0] for chunk in chunks) != prod(shape):
        raise refuse("msgpack.chunks", f"those of {path} do not have the {prod(shape)} values of {tuple(shape)}")
    return Tensor(
        chunks[0].dtype, tuple(shape), lambda: np.concatenate([chunk.load() for chunk in chunks]).reshape(shape)
    )
