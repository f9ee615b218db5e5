"""`.safetensors`: a JSON header of names, types, shapes and offsets, and the bytes of the tensors one after the other.

Read and written by the format's own rules (safetensors 0.8.0, tensor.rs), not by the library. Its `safe_open` maps the
file into memory: if the file is truncated meanwhile, SIGBUS ends the process (measured; hostile case 16 asks for an
error). To load all tensors of SE-ResNet-152 (268 MB) it needs 264 MB of resident memory instead of 12 MB, in the same
0.04 s. Its `save_file` needs all arrays at the same time, and ignores the strides of transposed views.
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

from se_weights.files.contents import FileContents, Tensor, array_bytes, read_values
from se_weights.files.json_document import DuplicateKey, check_strings, parse_object
from se_weights.files.limits import HEADER, RANK, TENSORS
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
    """Opens a file, whose tensors can be loaded until it is closed.

    The complete header is checked before any values are read.

    Raises:
        WeightsError: The file is refused.
    """
    with path.open("rb") as file:
        header, start = _read_header(file)
        metadata = header.pop(METADATA, {})
        if not isinstance(metadata, dict):
            raise refuse("metadata.json", f"{METADATA} is a {type(metadata).__name__}, not an object")
        if len(header) > TENSORS:
            raise refuse("tensor.count", f"{len(header):,}")
        size = file.seek(0, 2) - start
        spans = {name: _span(name, entry) for name, entry in header.items()}
        _check_offsets(spans, size)
        yield FileContents(
            {name: _tensor(file, name, header[name], start + span[0], span) for name, span in spans.items()},
            check_strings(metadata),
        )


def _read_header(file: BinaryIO) -> tuple[dict[str, Any], int]:
    """The header, and the offset at which the values begin."""
    size = file.seek(0, 2)
    file.seek(0)
    first = file.read(LENGTH.size)
    if len(first) < LENGTH.size:
        raise refuse("safetensors.header", f"{size} bytes are not enough for its length")
    (length,) = LENGTH.unpack(first)
    if length > min(size - LENGTH.size, HEADER):
        detail = f"{length:,} bytes are declared in a file of {size:,}, and {HEADER:,} are allowed"
        raise refuse("safetensors.header", detail)
    content = file.read(length)
    if not content.startswith(b"{"):
        raise refuse("safetensors.header", f"it begins with {content[:1]!r} and not with {{")
    try:
        return parse_object(content, "safetensors.header"), LENGTH.size + length
    except DuplicateKey as error:
        raise refuse("safetensors.twice", str(error)) from error


def _span(name: str, entry: Any) -> tuple[int, int]:
    """The offsets of a tensor's first byte and of its end, from the end of the header."""
    match entry:
        case {"dtype": str(), "shape": list(shape), "data_offsets": [begin, end]} if len(entry) == 3:
            if all(_is_size(value) for value in (*shape, begin, end)) and begin <= end:
                return begin, end
    raise refuse("safetensors.header", f"{name}: {json.dumps(entry)} is not a dtype, a shape and two offsets")


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _check_offsets(spans: Mapping[str, tuple[int, int]], size: int) -> None:
    """Checks that the tensors fill the file, one after the other."""
    expected = 0
    for name, (begin, end) in sorted(spans.items(), key=lambda item: item[1]):
        if begin != expected:
            raise refuse("safetensors.offsets", f"{name} begins at {begin}, not at {expected}")
        expected = end
    if expected != size:
        raise refuse("safetensors.offsets", f"the tensors end at {expected}, and the file at {size}")


def _tensor(file: BinaryIO, name: str, entry: Mapping[str, Any], offset: int, span: tuple[int, int]) -> Tensor:
    dtype, shape, count = TYPES.get(entry["dtype"]), tuple(entry["shape"]), span[1] - span[0]
    if dtype is None:
        raise refuse("tensor.type", f"{name} is of type {entry['dtype']}")
    if len(shape) > RANK:
        raise refuse("tensor.shape", f"{name} has {len(shape)} axes")
    if prod(shape) * dtype.itemsize != count:
        needed = f"the shape {shape} of {entry['dtype']} needs {prod(shape) * dtype.itemsize} bytes"
        raise refuse("tensor.size", f"{name}: {needed}, and has {count}")
    return Tensor(dtype, shape, lambda: read_values(file, offset, dtype, prod(shape)).reshape(shape))


def write(path: Path, contents: FileContents) -> None:
    """Writes a file. Tensors of larger types come first, as from the library, so that all are aligned."""
    names = {dtype: name for name, dtype in TYPES.items()}
    ordered = sorted(contents.tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    header: dict[str, Any] = {METADATA: dict(contents.metadata)} if contents.metadata else {}
    offset = 0
    for name, tensor in ordered:
        header[name] = {
            "dtype": names[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    content = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    content += b" " * (-len(content) % ALIGNMENT)
    with path.open("wb") as file:
        file.write(LENGTH.pack(len(content)) + content)
        for _, tensor in ordered:
            file.write(array_bytes(tensor.load()))
