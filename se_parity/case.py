"""The input of a parity check: a network, its weights and its images. Data only."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from se_spec import Architecture
from se_weights.transforms.cast import DTYPES


@dataclass(frozen=True, eq=False)
class Case:
    """A network with the weights and the images that every framework runs.

    Attributes:
        name: identifies the case in reports and golden files, such as "3 x 64x49" or "dead channels".
        architecture: the network.
        weights: arrays by canonical name, with canonical axes.
        images: (N, C, H, W), already preprocessed.
    """

    name: str
    architecture: Architecture
    weights: Mapping[str, NDArray]
    images: NDArray

    @property
    def sha256(self) -> str:
        """The hash of the weights and the images, as hexadecimal digits."""
        digest = hashlib.sha256()
        for name, array in (*sorted(self.weights.items()), ("images", self.images)):
            digest.update(f"{name} {array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def astype(self, dtype: str) -> "Case":
        """Round the weights and the images to a dtype.

        The reference for that dtype starts from the rounded values, so that storing them is not counted as an error.

        Args:
            dtype: "float64", "float32" or "bfloat16".

        Returns:
            A case with the same name.
        """
        weights = {name: np.asarray(array).astype(DTYPES[dtype]) for name, array in self.weights.items()}
        return Case(self.name, self.architecture, weights, np.asarray(self.images).astype(DTYPES[dtype]))
