"""`.npz`, a zip of numpy arrays; metadata travels as the comment of the archive, which numpy does not look at."""

import json
import tokenize
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from se_weights.files.json_document import parse_metadata
from se_weights.files.limits import RANK
from se_weights.files.stored import FileContents, Tensor, bytes_of
from se_weights.files.zip_archive import Archive, open_archive
from se_weights.layouts import contiguous
from se_weights.refusals import refuse

MAGIC, LONGEST_HEADER = 12, 10_000
"""Bytes: what stands before the header of an array, and what numpy allows the header."""

READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}

HEADER_ERRORS = (ValueError, TypeError, EOFError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError)
"""What numpy raises for headers that it cannot read."""


@contextmanager
def open_contents(path: Path) -> Iterator[FileContents]:
    with open_archive(path) as archive:
        tensors: dict[str, Tensor] = {}
        for record in archive.records:
            name = record.removesuffix(".npy")
            if name == record:
                raise refuse("file.other", f"it holds {record}, which no npz file does")
            if name in tensors:
                raise refuse("zip.twice", name)
            tensors[name] = _tensor(archive, record)
        yield FileContents(tensors, parse_metadata(archive.comment))


def _tensor(archive: Archive, record: str) -> Tensor:
    size = archive.records[record].size
    stream = BytesIO(archive.begin(record, MAGIC + LONGEST_HEADER))
    try:
        version = npy.read_magic(stream)
        if version not in READERS:
            raise ValueError(f"version {version} is not known")
        shape, fortran, dtype = READERS[version](stream, max_header_size=LONGEST_HEADER)
    except HEADER_ERRORS as error:
        raise refuse("npz.header", f"{record}: {error}") from error
    if dtype.hasobject:
        raise refuse("npz.object", record)
    if dtype.kind not in "fiub":
        raise refuse("tensor.type", f"{record} is of type {dtype}")
    if len(shape) > RANK or any(isinstance(side, bool) or side < 0 for side in shape):
        raise refuse("tensor.shape", f"{record} has the shape {shape}")
    begin = stream.tell()
    tensor = Tensor(dtype, shape, lambda: _array(archive.read(record), begin, shape, fortran, dtype))
    if tensor.nbytes != size - begin:
        needed = f"the shape {shape} of {dtype} needs {tensor.nbytes} bytes"
        raise refuse("tensor.size", f"{record}: {needed}, and {size - begin} are there")
    return tensor


def _array(content: NDArray, begin: int, shape: tuple[int, ...], fortran: bool, dtype: np.dtype) -> NDArray:
    return content[begin:].view(dtype).reshape(shape, order="F" if fortran else "C")


def write(path: Path, stored: FileContents) -> None:
    """As `numpy.savez` does, but for the date in each record: equal weights make equal files."""
    with path.open("wb") as file, zipfile.ZipFile(file, "w") as archive:
        for name, tensor in stored.tensors.items():
            array = contiguous(tensor.load())
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as record:
                npy.write_array_header_1_0(record, npy.header_data_from_array_1_0(array))
                record.write(bytes_of(array))
        archive.comment = json.dumps(dict(stored.metadata)).encode()
