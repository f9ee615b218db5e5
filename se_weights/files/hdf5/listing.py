"""The tensors of an HDF5 file, as listing_program.py lists them.

The HDF5 library only says at which offsets the values are stored; they are read from there without it.
"""

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

from se_weights.files.contents import FileContents, Tensor, read_values
from se_weights.files.json_document import parse_metadata
from se_weights.files.limits import CONFIG
from se_weights.files.processes import sandbox
from se_weights.refusals import refuse

ARCHITECTURE = "vars/architecture"
"""How the name of the dataset ends in which a model of se_tf saves its architecture."""

METADATA = "se_resnet"
"""The attribute of the root that holds our metadata."""

MODEL_CONFIG = "model_config"
"""The attribute of the root in which Keras keeps the config of a complete model."""

PROGRAM = Path(__file__).with_name("listing_program.py")
LIMITS = sandbox.Limits(seconds=9, cpu_seconds=8, memory=400 * 2**20)

ListFile = Callable[[Path, Path], dict[str, Any]]
"""Lists a file, and decompresses what is compressed in it into a second file."""


@dataclass(frozen=True)
class Listing:
    """What an HDF5 file holds.

    Attributes:
        contents: The tensors by path, and our metadata.
        names: The lists of names that Keras 2 stores, by group and attribute.
        model_config: The JSON of the config of a complete Keras model; empty in a file of weights alone.
    """

    contents: FileContents
    names: dict[str, dict[str, list[str]]]
    model_config: str


def list_sandboxed(path: Path, decompressed: Path) -> dict[str, Any]:
    """Lists an untrusted file, in a separate process with limits. Raises WeightsError.

    Args:
        path: The file.
        decompressed: A second file, to which the compressed values are written.

    Returns:
        The answer of `listing_program.run`.
    """
    return sandbox.run_sandboxed(PROGRAM, _request(path, decompressed), LIMITS, "hdf5.limits")


def list_in_process(path: Path, decompressed: Path) -> dict[str, Any]:
    """Lists a file that this process wrote. Raises WeightsError.

    Args:
        path: The file.
        decompressed: A second file, to which the compressed values are written.

    Returns:
        The answer of `listing_program.run`.
    """
    from se_weights.files.hdf5.listing_program import run  # imports h5py, which most conversions never need

    return run(_request(path, decompressed), refuse)


def _request(path: Path, decompressed: Path) -> dict[str, Any]:
    return {"path": str(path), "decompressed": str(decompressed), "texts": [METADATA, MODEL_CONFIG]}


@contextmanager
def open_listing(path: Path, list_file: ListFile) -> Iterator[Listing]:
    """Opens a file, whose tensors can be loaded until it is closed.

    Args:
        path: The HDF5 file.
        list_file: `list_sandboxed`, or `list_in_process` for a file that this process wrote.

    Raises:
        WeightsError: The file is refused.
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        decompressed = Path(folder, "decompressed")
        listing = list_file(path, decompressed)
        files = {flag: stack.enter_context(file.open("rb")) for flag, file in ((False, path), (True, decompressed))}
        tensors = {name: _tensor(name, entry, files) for name, entry in listing["tensors"].items()}
        architectures = _take_architectures(tensors)
        texts = listing["texts"]
        metadata = parse_metadata(texts.get(METADATA, "{}"))
        contents = FileContents(tensors, metadata, architectures=architectures)
        yield Listing(contents, listing["names"], texts.get(MODEL_CONFIG, ""))


def _take_architectures(tensors: dict[str, Tensor]) -> dict[str, str]:
    """The JSON of the architectures that models of se_tf saved, by their prefixes; removed from the tensors."""
    found = {}
    for name in [name for name in tensors if f"/{name}".endswith(f"/{ARCHITECTURE}")]:
        tensor = tensors.pop(name)
        if tensor.dtype != np.uint8 or tensor.nbytes > CONFIG:
            raise refuse("metadata.json", f"{name} has the type {tensor.dtype} and {tensor.nbytes:,} bytes")
        found[name.removesuffix(ARCHITECTURE)] = bytes(tensor.load()).decode("utf-8", "replace")
    return found


def _tensor(name: str, entry: Mapping[str, Any], files: Mapping[bool, BinaryIO]) -> Tensor:
    dtype, shape, file = np.dtype(entry["dtype"]), tuple(entry["shape"]), files[entry["decompressed"]]
    if entry["bfloat16"]:
        dtype = _bfloat16(name, dtype)
    tensor = Tensor(dtype, shape, lambda: _load(file, entry["offset"], tensor).reshape(shape))
    return tensor


def _bfloat16(name: str, dtype: np.dtype) -> np.dtype:
    """HDF5 has no bfloat16: Keras stores its two bytes, and an attribute that names the type."""
    if dtype.itemsize != np.dtype(ml_dtypes.bfloat16).itemsize:
        raise refuse("hdf5.type", f"{name} is marked as bfloat16, and its values have {dtype.itemsize} bytes")
    return np.dtype(ml_dtypes.bfloat16)


def _load(file: BinaryIO, offset: int, tensor: Tensor) -> NDArray:
    values = read_values(file, offset, tensor.dtype, prod(tensor.shape))
    if values.nbytes != tensor.nbytes:
        raise refuse("hdf5.damaged", f"it ends before {offset + tensor.nbytes}, where values end")
    return values
