"""Arrays on their way to a worker and back, as safetensors files."""

from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

assert (
    np.dtype("bfloat16") == ml_dtypes.bfloat16
)  # safetensors asks numpy for it by this name, which ml_dtypes gives it


def save_arrays(arrays: Mapping[str, NDArray], path: str | Path) -> None:
    save_file({name: np.array(array, order="C", copy=True) for name, array in arrays.items()}, path)


def load_arrays(path: str | Path) -> dict[str, NDArray]:
    return load_file(path)
