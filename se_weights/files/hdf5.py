"""`.weights.h5`, the weights file of Keras 3, through h5py; metadata travels as an attribute of the root."""

import json
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import h5py
import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from se_weights.errors import MalformedFile, UnsafeFile
from se_weights.files.stored import ALL_FLOATS, Format, Stored

METADATA = "se_resnet"


def read(path: Path | BinaryIO) -> Stored:
    tensors: dict[str, NDArray] = {}
    try:
        with h5py.File(path, "r") as file:
            _collect(file, "", tensors)
            return Stored(tensors, json.loads(file.attrs.get(METADATA, "{}")))
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise MalformedFile(f"{path} is not a readable HDF5 file: {error}") from error


def _collect(group: h5py.Group, prefix: str, tensors: dict[str, NDArray]) -> None:
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise UnsafeFile(f"{prefix}{name} is a link to elsewhere, which a weights file never needs")
        item = group[name]
        if isinstance(item, h5py.Group):
            _collect(item, f"{prefix}{name}/", tensors)
        else:
            tensors[f"{prefix}{name}"] = _array(item)


def _array(dataset: h5py.Dataset) -> NDArray:
    """HDF5 has no bfloat16: Keras stores its two bytes and says so in an attribute."""
    array = np.asarray(dataset)
    return array.view(ml_dtypes.bfloat16) if dataset.attrs.get("dtype") == "bfloat16" else array


def write(path: Path, stored: Stored) -> None:
    """Made in memory: where a disk is full, h5py itself would leave open handles that complain for ever."""
    content = BytesIO()
    with h5py.File(content, "w") as file:
        file.attrs[METADATA] = json.dumps(dict(stored.metadata))
        for name, tensor in stored.tensors.items():
            dataset = file.create_dataset(name, data=tensor)
            if tensor.dtype == ml_dtypes.bfloat16:
                dataset.attrs["dtype"] = "bfloat16"
    path.write_bytes(content.getbuffer())


HDF5 = Format("Keras weights", (".weights.h5",), ("keras",), ALL_FLOATS, read, write)
