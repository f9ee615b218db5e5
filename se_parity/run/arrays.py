"""How arrays are sent to a worker and back: as safetensors files."""

from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

# safetensors looks the dtype up in numpy by this name, which importing ml_dtypes registers.
assert np.dtype("bfloat16") == ml_dtypes.bfloat16


def save_arrays(arrays: Mapping[str, NDArray], path: str | Path) -> None:
    """Write arrays to a safetensors file.

    Args:
        arrays: the arrays by name; views are copied in C order, which safetensors itself does not do.
        path: the file to write.
    """
    save_file({name: np.array(array, order="C", copy=True) for name, array in arrays.items()}, path)


def load_arrays(path: str | Path) -> dict[str, NDArray]:
    """The arrays in a safetensors file, by name."""
    return load_file(path)
