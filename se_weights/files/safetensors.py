"""`.safetensors`, through the safetensors library."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from se_weights.errors import MalformedFile, WriteFailed
from se_weights.files.stored import ALL_FLOATS, Format, Stored


def read(path: Path) -> Stored:
    try:
        with safe_open(path, framework="np") as file:
            names = list(file.keys())
            return Stored({name: file.get_tensor(name) for name in names}, file.metadata() or {})
    except SafetensorError as error:
        raise MalformedFile(f"{path} is not a readable safetensors file: {error}") from error


def write(path: Path, stored: Stored) -> None:
    """safetensors 0.8.0 writes an array's memory and ignores its strides, so every array is made contiguous first."""
    contiguous = {name: np.array(tensor, order="C", copy=True) for name, tensor in stored.tensors.items()}
    try:
        save_file(contiguous, path, metadata=dict(stored.metadata) or None)
    except SafetensorError as error:
        raise WriteFailed(f"safetensors could not write the file: {error}") from error


SAFETENSORS = Format("safetensors", (".safetensors",), ("torch", "keras", "keras2", "flax"), ALL_FLOATS, read, write)
