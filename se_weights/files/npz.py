"""`.npz` files, zip archives of numpy arrays. Our metadata are the comment of the archive, which numpy ignores."""

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

from se_weights.files.contents import FileContents, Tensor, array_bytes
from se_weights.files.json_document import parse_metadata
from se_weights.files.limits import RANK
from se_weights.files.zip_archive import Archive, open_archive
from se_weights.layouts import contiguous
from se_weights.refusals import refuse

MAGIC, LONGEST_HEADER = 12, 10_000
"""Bytes before the header of an array, and the longest header that numpy reads by default."""

READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}

HEADER_ERRORS = (ValueError, TypeError, EOFError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError)
"""What numpy raises for headers that it cannot read."""


@contextmanager
def open_contents(path: Path) -> Iterator[FileContents]:
    """Opens a file, whose tensors can be loaded until it is closed. Raises WeightsError."""
    with open_archive(path) as archive:
        tensors: dict[str, Tensor] = {}
        for record in archive.records:
            name = record.removesuffix(".npy")
            if name == record:
                raise refuse("file.other", f"it contains {record}, which is not the name of an array in an npz file")
            if name in tensors:
                raise refuse("zip.twice", name)
            tensors[name] = _tensor(archive, record)
        yield FileContents(tensors, parse_metadata(archive.comment))


def _tensor(archive: Archive, record: str) -> Tensor:
    size = archive.records[record].size
    stream = BytesIO(archive.read_start(record, MAGIC + LONGEST_HEADER))
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
    if len(shape) > RANK or any(isinstance(length, bool) or length < 0 for length in shape):
        raise refuse("tensor.shape", f"{record} has the shape {shape}")
    start = stream.tell()
    tensor = Tensor(dtype, shape, lambda: _array(archive.read(record), start, shape, fortran, dtype))
    if tensor.nbytes != size - start:
        needed = f"the shape {shape} of {dtype} needs {tensor.nbytes} bytes"
        raise refuse("tensor.size", f"{record}: {needed}, and it has {size - start}")
    return tensor


def _array(content: NDArray, start: int, shape: tuple[int, ...], fortran: bool, dtype: np.dtype) -> NDArray:
    return content[start:].view(dtype).reshape(shape, order="F" if fortran else "C")


def write(path: Path, contents: FileContents) -> None:
    """Writes what `numpy.savez` writes, without the dates, so that equal weights make equal files."""
    with path.open("wb") as file, zipfile.ZipFile(file, "w") as archive:
        for name, tensor in contents.tensors.items():
            array = contiguous(tensor.load())
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as record:
                npy.write_array_header_1_0(record, npy.header_data_from_array_1_0(array))
                record.write(array_bytes(array))
        archive.comment = json.dumps(dict(contents.metadata)).encode()
