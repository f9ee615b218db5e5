"""What an HDF5 file holds, by the HDF5 library in a process of its own (listing_program.py).

The program says where in the file the values lie; they are read from there.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from se_weights.files.json_document import parse_metadata
from se_weights.files.stored import FileContents, Tensor, values_at
from se_weights.refusals import refuse

METADATA = "se_resnet"
SECONDS = 9
PROGRAM = Path(__file__).with_name("listing_program.py")

Lister = Callable[[Path, Path], dict[str, Any]]
"""Lists a file, and unpacks into another what is packed in it."""


@dataclass(frozen=True)
class Listing:
    """What a file holds: the tensors by path, and the lists of names that Keras 2 keeps by group."""

    stored: FileContents
    names: dict[str, dict[str, list[str]]]


def list_isolated(path: Path, unpacked: Path) -> dict[str, Any]:
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


def list_in_process(path: Path, unpacked: Path) -> dict[str, Any]:
    """The listing of a file that this process wrote."""
    from se_weights.files.hdf5.listing_program import (  # imports h5py, which most conversions never need
        Refused,
        list_file,
    )

    with unpacked.open("wb") as file:
        try:
            return list_file(str(path), file, METADATA)
        except Refused as error:
            raise refuse(error.reason, str(error)) from error


@contextmanager
def open_listing(path: Path, lister: Lister) -> Iterator[Listing]:
    """The listing of a file, whose tensors can be loaded until it is closed."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        unpacked = Path(folder, "unpacked")
        listing = lister(path, unpacked)
        files = {place: stack.enter_context(file.open("rb")) for place, file in ((False, path), (True, unpacked))}
        tensors = {name: _tensor(name, entry, files) for name, entry in listing["tensors"].items()}
        yield Listing(FileContents(tensors, parse_metadata(listing["metadata"])), listing["names"])


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
