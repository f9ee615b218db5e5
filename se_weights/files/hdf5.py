"""`.weights.h5`, the weights file of Keras 3; metadata travels as an attribute of the root.

The HDF5 library looks at a stranger's file in a process of its own (hdf5_listing.py), which says where the values lie;
they are read from there.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BufferedRandom
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from se_weights.files.documents import parse_metadata
from se_weights.files.stored import Stored, Tensor, bytes_of, values_at
from se_weights.refusals import refuse

METADATA = "se_resnet"
SECONDS = 9
ENTRY, HEADERS = 4096, 2**20
"""Bytes that a dataset and its groups need beside its values, and a file beside its datasets: more than either does."""

PROGRAM = Path(__file__).with_name("hdf5_listing.py")

Lister = Callable[[Path, Path], dict[str, Any]]
"""Lists a file, and unpacks into another what is packed in it."""


@dataclass(frozen=True)
class Listing:
    """What a file holds: the tensors by path, and the lists of names that Keras 2 keeps by group."""

    stored: Stored
    names: dict[str, dict[str, list[str]]]


def listed_apart(path: Path, unpacked: Path) -> dict[str, Any]:
    """The listing of a stranger's file, made in a process of its own."""
    command = [sys.executable, "-I", str(PROGRAM), str(path), str(unpacked), METADATA]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HDF5", "PYTHON"))}
    try:
        answer = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False, env=environment)
    except subprocess.TimeoutExpired as error:
        raise refuse("hdf5.limits", f"it took more than {SECONDS} s") from error
    if answer.returncode:
        said = answer.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise refuse("hdf5.limits", f"status {answer.returncode}{', ' if said else ''}{''.join(said)}")
    listing = json.loads(answer.stdout)
    if "reason" in listing:
        raise refuse(listing["reason"], listing["detail"])
    return listing


def listed_here(path: Path, unpacked: Path) -> dict[str, Any]:
    """The listing of a file that this process wrote."""
    from se_weights.files.hdf5_listing import Refused, list_file  # imports h5py, which most conversions never need

    with unpacked.open("wb") as file:
        try:
            return list_file(str(path), file, METADATA)
        except Refused as error:
            raise refuse(error.reason, str(error)) from error


@contextmanager
def opened(path: Path, lister: Lister) -> Iterator[Listing]:
    """The listing of a file, whose tensors can be loaded until it is closed."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        unpacked = Path(folder, "unpacked")
        listing = lister(path, unpacked)
        files = {place: stack.enter_context(file.open("rb")) for place, file in ((False, path), (True, unpacked))}
        tensors = {name: _tensor(name, entry, files) for name, entry in listing["tensors"].items()}
        yield Listing(Stored(tensors, parse_metadata(listing["metadata"])), listing["names"])


def _tensor(name: str, entry: Mapping[str, Any], files: Mapping[bool, BinaryIO]) -> Tensor:
    dtype, shape, file = np.dtype(entry["dtype"]), tuple(entry["shape"]), files[entry["unpacked"]]
    if entry["bfloat16"]:
        dtype = _bfloat16(name, dtype)
    tensor = Tensor(dtype, shape, lambda: _load(file, entry["offset"], tensor).reshape(shape))
    return tensor


def _bfloat16(name: str, dtype: np.dtype) -> np.dtype:
    """HDF5 has no bfloat16: Keras stores its two bytes and says so in an attribute."""
    if dtype.itemsize != np.dtype(ml_dtypes.bfloat16).itemsize:
        raise refuse("hdf5.type", f"{name} is said to be bfloat16, and its values have {dtype.itemsize} bytes")
    return np.dtype(ml_dtypes.bfloat16)


def _load(file: BinaryIO, offset: int, tensor: Tensor) -> NDArray:
    values = values_at(file, offset, tensor.dtype, prod(tensor.shape))
    if values.nbytes != tensor.nbytes:
        raise refuse("hdf5.damaged", f"it ends before {offset + tensor.nbytes}, where values end")
    return values


@contextmanager
def open_stored(path: Path) -> Iterator[Stored]:
    with opened(path, listed_apart) as listing:
        if "layer_names" in listing.names.get("", {}):
            raise refuse("file.other", "it has the lists of names of Keras 2: its suffix is .h5")
        yield listing.stored


@contextmanager
def reopen_stored(path: Path) -> Iterator[Stored]:
    with opened(path, listed_here) as listing:
        yield listing.stored


def write(path: Path, stored: Stored) -> None:
    """The HDF5 library writes what stands around the values, and says where they belong; they are put there after it.

    The room is taken before: where a disk is full, h5py itself would leave open handles that complain for ever.
    """
    import h5py  # takes a quarter of a second

    room = sum(tensor.nbytes + ENTRY for tensor in stored.tensors.values()) + HEADERS
    with path.open("w+b") as content:
        os.posix_fallocate(content.fileno(), 0, room)
        with h5py.File(_Prepared(content), "w") as file:
            file.attrs[METADATA] = json.dumps(dict(stored.metadata))
            offsets = {name: _place(file.id, name, tensor) for name, tensor in stored.tensors.items()}
        for name, tensor in stored.tensors.items():
            content.seek(offsets[name])
            content.write(bytes_of(tensor.load()))


class _Prepared:
    """A file that has its room on the disk already, and looks as long as what has been written to it."""

    def __init__(self, file: BufferedRandom) -> None:
        self.file = file
        self.length = 0
        self.read, self.tell = file.read, file.tell
        self.readinto = file.readinto
        self.flush = file.flush

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self.file.seek(self.length + offset if whence == os.SEEK_END else offset)

    def write(self, content: bytes) -> int:
        written = self.file.write(content)
        self.length = max(self.length, self.file.tell())
        return written

    def truncate(self, length: int) -> int:
        self.length = length
        return self.file.truncate(length)


def _place(file: Any, name: str, tensor: Tensor) -> int:
    """Where the values of a new dataset belong."""
    from h5py import Dataset, h5d, h5p, h5s, h5t

    groups = h5p.create(h5p.LINK_CREATE)
    groups.set_create_intermediate_group(True)
    layout = h5p.create(h5p.DATASET_CREATE)
    layout.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5d.FILL_TIME_NEVER)
    layout.set_obj_track_times(False)
    kind, space = h5t.py_create(tensor.dtype, logical=True), h5s.create_simple(tensor.shape)
    dataset = h5d.create(file, name.encode(), kind, space, layout, groups)
    if tensor.dtype == ml_dtypes.bfloat16:
        Dataset(dataset).attrs["dtype"] = "bfloat16"
    return dataset.get_offset() or 0
