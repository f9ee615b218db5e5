"""How arrays are sent to a worker and back: as safetensors files."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

# safetensors looks the dtype up in numpy by this name, which importing ml_dtypes registers.
assert np.dtype("bfloat16") == ml_dtypes.bfloat16


def save_arrays(arrays: Mapping[str, NDArray], path: str | Path) -> None:
    """Write arrays to a safetensors file.

    Args:
        arrays: the arrays by name; those that are not in C order are copied, which safetensors itself does not do.
        path: the file to write.
    """
    save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, path)


def load_arrays(path: str | Path) -> dict[str, NDArray]:
    """The arrays in a safetensors file, by name."""
    return load_file(path)


class ArrayFiles(Mapping[str, NDArray]):
    """The arrays in several safetensors files, each of which is read when it is used.

    Args:
        paths: the files, which must exist as long as arrays are read; no name may occur in two of them.
    """

    def __init__(self, paths: Sequence[str | Path]) -> None:
        self._paths: dict[str, str | Path] = {}
        for path in paths:
            with safe_open(path, "numpy") as file:
                self._paths |= dict.fromkeys(file.keys(), path)

    def __getitem__(self, name: str) -> NDArray:
        with safe_open(self._paths[name], "numpy") as file:
            return file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)
