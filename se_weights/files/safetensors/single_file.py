"""`.safetensors`: a JSON header of names, types, shapes and offsets, and the bytes of the tensors one after the other.

Read and written here, as the format's own rules have it (safetensors 0.8.0, tensor.rs): what is declared is checked
whole before a byte of it is read, tensors are read one by one, and an array's strides are heeded, which the library's
own `save_file` forgets.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from se_weights.files.json_document import DuplicateKey, expect_texts, parse_object
from se_weights.files.limits import HEADER, RANK, TENSORS
from se_weights.files.stored import FileContents, Tensor, bytes_of, values_at
from se_weights.refusals import refuse

TYPES: dict[str, np.dtype] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}

METADATA = "__metadata__"
LENGTH = struct.Struct("<Q")
ALIGNMENT = 8


@contextmanager
def open_contents(path: Path) -> Iterator[FileContents]:
    with path.open("rb") as file:
        header, begin = _header(file)
        metadata = header.pop(METADATA, {})
        if not isinstance(metadata, dict):
            raise refuse("metadata.json", f"{METADATA} is a {type(metadata).__name__} where an object belongs")
        if len(header) > TENSORS:
            raise refuse("tensor.count", f"{len(header):,}")
        size = file.seek(0, 2) - begin
        spans = {name: _span(name, entry) for name, entry in header.items()}
        _expect_filled(spans, size)
        yield FileContents(
            {name: _tensor(file, name, header[name], begin + span[0], span) for name, span in spans.items()},
            expect_texts(metadata),
        )


def _header(file: BinaryIO) -> tuple[dict[str, Any], int]:
    """The header, and where the tensors' bytes begin."""
    size = file.seek(0, 2)
    file.seek(0)
    first = file.read(LENGTH.size)
    if len(first) < LENGTH.size:
        raise refuse("safetensors.header", f"{size} bytes are not enough for its length")
    (length,) = LENGTH.unpack(first)
    if length > min(size - LENGTH.size, HEADER):
        where = f"in a file of {size:,}, where {HEADER:,} are allowed"
        raise refuse("safetensors.header", f"it is declared with {length:,} bytes, {where}")
    content = file.read(length)
    if not content.startswith(b"{"):
        raise refuse("safetensors.header", f"it begins with {content[:1]!r} and not with {{")
    try:
        return parse_object(content, "safetensors.header"), LENGTH.size + length
    except DuplicateKey as error:
        raise refuse("safetensors.twice", str(error)) from error


def _span(name: str, entry: Any) -> tuple[int, int]:
    """Where a tensor's bytes begin and end, counted from the end of the header."""
    match entry:
        case {"dtype": str(), "shape": list(shape), "data_offsets": [begin, end]} if len(entry) == 3:
            if all(_is_size(value) for value in (*shape, begin, end)) and begin <= end:
                return begin, end
    raise refuse("safetensors.header", f"{name}: {json.dumps(entry)} is not a type, a shape and two offsets")


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _expect_filled(spans: Mapping[str, tuple[int, int]], size: int) -> None:
    reached = 0
    for name, (begin, end) in sorted(spans.items(), key=lambda item: item[1]):
        if begin != reached:
            raise refuse("safetensors.offsets", f"{name} begins at {begin}, where {reached} is due")
        reached = end
    if reached != size:
        raise refuse("safetensors.offsets", f"they end at {reached}, and the file at {size}")


def _tensor(file: BinaryIO, name: str, entry: Mapping[str, Any], offset: int, span: tuple[int, int]) -> Tensor:
    dtype, shape, count = TYPES.get(entry["dtype"]), tuple(entry["shape"]), span[1] - span[0]
    if dtype is None:
        raise refuse("tensor.type", f"{name} is of type {entry['dtype']}")
    if len(shape) > RANK:
        raise refuse("tensor.shape", f"{name} has {len(shape)} axes")
    if prod(shape) * dtype.itemsize != count:
        needed = f"the shape {shape} of {entry['dtype']} needs {prod(shape) * dtype.itemsize} bytes"
        raise refuse("tensor.size", f"{name}: {needed}, and {count} are there")
    return Tensor(dtype, shape, lambda: values_at(file, offset, dtype, prod(shape)).reshape(shape))


def write(path: Path, stored: FileContents) -> None:
    """Tensors of the largest type first, as the library does, so that each begins on a multiple of its size."""
    names = {dtype: name for name, dtype in TYPES.items()}
    ordered = sorted(stored.tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    header: dict[str, Any] = {METADATA: dict(stored.metadata)} if stored.metadata else {}
    reached = 0
    for name, tensor in ordered:
        header[name] = {
            "dtype": names[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [reached, reached + tensor.nbytes],
        }
        reached += tensor.nbytes
    content = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    content += b" " * (-len(content) % ALIGNMENT)
    with path.open("wb") as file:
        file.write(LENGTH.pack(len(content)) + content)
        for _, tensor in ordered:
            file.write(bytes_of(tensor.load()))
