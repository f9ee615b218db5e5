"""One question to the frameworks: a network, its weights and its images. Data only."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from se_spec import Architecture
from se_weights.transforms.cast import DTYPES


@dataclass(frozen=True, eq=False)
class Case:
    """`name` says what is special about it; `images` are (N, C, H, W)."""

    name: str
    architecture: Architecture
    weights: Mapping[str, NDArray]
    images: NDArray

    @property
    def sha256(self) -> str:
        """Of the weights and the images."""
        digest = hashlib.sha256()
        for name, array in (*sorted(self.weights.items()), ("images", self.images)):
            digest.update(f"{name} {array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def stored_as(self, dtype: str) -> "Case":
        """What is left of the weights and the images in that dtype: the truth is what follows from those."""
        images = stored_as(dtype, {"images": self.images})["images"]
        return Case(self.name, self.architecture, stored_as(dtype, self.weights), images)


def stored_as(dtype: str, weights: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """What is left of the weights, or of images, once they are stored so; float32 loses nothing of float32."""
    return {name: np.asarray(array).astype(DTYPES[dtype]) for name, array in weights.items()}
