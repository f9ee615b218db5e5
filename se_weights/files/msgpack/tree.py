"""A walk through the tree in a msgpack file that notes where its arrays lie, and passes over their bytes."""

from math import prod
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from se_weights.files.json_document import parse_metadata
from se_weights.files.limits import DEPTH, HEADER, NAME, RANK, TENSORS
from se_weights.files.msgpack.heads import ARRAY, BYTES, EXTENSION, MAP, TEXT, TRUE, WHOLE, Heads
from se_weights.files.stored import FileContents, Tensor, values_at
from se_weights.refusals import refuse

NDARRAY, SCALAR = 1, 3
"""Flax's codes for extensions."""

CHUNKS = "__msgpack_chunked_array__"
METADATA = "se_resnet.json"

DTYPES = {
    **{
        np.dtype(kind).name: np.dtype(kind)
        for kind in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u4", "u2", "u1", "?")
    },
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}


class Walk:
    """A walk through a file's tree."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.values = Heads(file, 0, file.seek(0, 2), "msgpack.damaged")
        self.tensors: dict[str, Tensor] = {}
        self.metadata: dict[str, str] = {}

    def stored(self) -> FileContents:
        kind, count = self.values.head()
        if kind is not MAP:
            raise refuse("msgpack.damaged", "it holds no tree")
        self.tree("", count, 0)
        if self.values.at != self.values.end:
            raise refuse("msgpack.damaged", f"{self.values.end - self.values.at} bytes follow its end")
        return FileContents(self.tensors, self.metadata)

    def tree(self, path: str, count: int, depth: int) -> None:
        """A map of so many branches, after its head."""
        if depth > DEPTH:
            raise refuse("msgpack.depth", f"{path} is more than {DEPTH} levels deep")
        keys: set[str] = set()
        chunked: dict[str, Any] | None = None
        for number in range(count):
            key = self.key(path, keys)
            inner = f"{path}/{key}" if path else key
            kind, length = self.values.head()
            if number == 0 and key == CHUNKS:
                if kind is not TRUE:
                    raise refuse("msgpack.chunks", f"{inner} is a {kind or 'value'}")
                chunked = {}
            elif chunked is not None:
                chunked[key] = self.numbered(inner, key, kind, length)
            else:
                self.value(inner, kind, length, depth)
        if chunked is not None:
            self.add(path, _joined(path, **chunked))

    def key(self, path: str, keys: set[str]) -> str:
        where, (kind, length) = self.values.at, self.values.head()
        if kind is not TEXT:
            raise refuse("msgpack.key", f"one in {path or 'the root'}, at offset {where:,}")
        key = self.values.text(min(length, NAME + 1))
        if key in keys or length > NAME:
            raise refuse("msgpack.key", f"{key[:100]} in {path or 'the root'}")
        keys.add(key)
        return key

    def value(self, path: str, kind: str | None, length: int, depth: int) -> None:
        if kind is MAP:
            self.tree(path, length, depth + 1)
        elif kind is EXTENSION:
            self.add(path, self.array(path, length))
        elif kind is TEXT and path == METADATA:
            if length > HEADER:
                raise refuse("metadata.json", f"{length:,} bytes are too many")
            self.metadata = parse_metadata(self.values.text(length))
        else:
            raise refuse("msgpack.array", f"{path} holds a {kind or 'value'} where an array belongs")

    def add(self, path: str, tensor: Tensor) -> None:
        if len(self.tensors) >= TENSORS:
            raise refuse("tensor.count", f"more than {TENSORS:,}")
        if path in self.tensors:
            raise refuse("tensor.name", f"{path} stands twice")
        self.tensors[path] = tensor

    def array(self, path: str, length: int) -> Tensor:
        """An extension of so many bytes, after its head: a shape, a type and the values."""
        code = self.values.take(1)[0]
        begin = self.values.at
        self.values.pass_over(length)
        if code not in (NDARRAY, SCALAR):
            raise refuse("msgpack.extension", f"{path} is the extension {code}")
        parts = Heads(self.file, begin, begin + length, "msgpack.array", self.values.window, self.values.window_at)
        if parts.head() != (ARRAY, 3):
            raise refuse("msgpack.array", f"{path} is not a shape, a type and values")
        shape = _shape(path, parts)
        kind, letters = parts.head()
        name = parts.text(letters) if kind is TEXT and letters <= NAME else None
        if name not in DTYPES:
            raise refuse("tensor.type", f"{path} is of type {name or kind!r}")
        kind, held = parts.head()
        offset, dtype = parts.at, DTYPES[name]
        if kind is not BYTES or offset + held != parts.end:
            raise refuse("msgpack.array", f"{path} does not end with its bytes")
        if (needed := prod(shape) * dtype.itemsize) != held:
            found = f"needs {needed} bytes, and {held} are there"
            raise refuse("tensor.size", f"{path}: the shape {shape} of {name} {found}")
        return Tensor(dtype, shape, lambda: values_at(self.file, offset, dtype, prod(shape)).reshape(shape))

    def numbered(self, path: str, key: str, kind: str | None, count: int) -> list[Any]:
        """The values of a map whose keys are "0", "1", ..., after its head: the shape, or the chunks."""
        if kind is not MAP or key not in ("shape", "chunks"):
            raise refuse("msgpack.chunks", f"{path} is no part of a chunked array")
        values = {}
        keys: set[str] = set()
        for _ in range(count):
            name = self.key(path, keys)
            kind, length = self.values.head()
            if kind is not (WHOLE if key == "shape" else EXTENSION):
                raise refuse("msgpack.chunks", f"{path}/{name} is no part of a chunked array")
            values[name] = length if kind is WHOLE else self.array(f"{path}/{name}", length)
        if set(values) != {str(number) for number in range(len(values))}:
            raise refuse("msgpack.chunks", f"{path} has the parts {', '.join(sorted(values))}")
        return [values[str(number)] for number in range(len(values))]


def _shape(path: str, parts: Heads) -> tuple[int, ...]:
    kind, rank = parts.head()
    sides = [parts.head() for _ in range(rank)] if kind is ARRAY and rank <= RANK else None
    if sides is None or any(kind is not WHOLE for kind, _ in sides):
        raise refuse("tensor.shape", f"{path} has a shape that is a {kind or 'value'} of {rank:,}")
    return tuple(side for _, side in sides)


def _joined(path: str, shape: list[int] | None = None, chunks: list[Tensor] | None = None) -> Tensor:
    if shape is None or not chunks or len(shape) > RANK:
        raise refuse("msgpack.chunks", f"{path} lacks a shape or chunks")
    if len({chunk.dtype for chunk in chunks}) > 1 or any(len(chunk.shape) != 1 for chunk in chunks):
        raise refuse("msgpack.chunks", f"those of {path} are not flat and of one type")
    if sum(chunk.shape[0] for chunk in chunks) != prod(shape):
        raise refuse("msgpack.chunks", f"those of {path} are not the {prod(shape)} values of the shape {tuple(shape)}")
    return Tensor(
        chunks[0].dtype, tuple(shape), lambda: np.concatenate([chunk.load() for chunk in chunks]).reshape(shape)
    )
