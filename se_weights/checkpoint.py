"""A checkpoint: canonical weights, the architecture they belong to, and where they came from."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from se_spec import Architecture
from se_weights.dialects import TORCH
from se_weights.errors import WeightMismatch
from se_weights.preprocessing import Preprocessing

Weights = Mapping[str, NDArray]
"""Arrays by canonical name, on canonical axes."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights in the manifest's order; `dialect` is the one they were read in, `metadata` what travels with them."""

    architecture: Architecture
    weights: Weights
    dialect: str = TORCH.name
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def preprocessing(self) -> Preprocessing | None:
        """What the network expects of an image and how its classes are ordered, where that is known."""
        text = self.metadata.get("preprocessing")
        return Preprocessing.from_text(text) if text else None


def check(what: str, architecture: Architecture, weights: Weights) -> None:
    """Raise WeightMismatch, with the whole list, unless these are the architecture's weights, all floating-point."""
    differences = TORCH.differences(architecture, {name: np.shape(array) for name, array in weights.items()})
    differences += [
        f"! {name} expected a floating-point type, found {array.dtype}"
        for name, array in weights.items()
        if not is_floating(array)
    ]
    if differences:
        raise WeightMismatch(f"{what} does not hold the weights of {architecture.name}", differences)


def is_floating(array: NDArray) -> bool:
    return np.issubdtype(array.dtype, np.floating) or array.dtype == ml_dtypes.bfloat16


def tensor_sha256(array: NDArray) -> str:
    """The hash of an array's type, shape and little-endian bytes in C order, whatever file it lay in."""
    little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
    header = f"{array.dtype.name}{array.shape}".encode()
    return hashlib.sha256(header + little.tobytes()).hexdigest()


def weights_sha256(weights: Weights) -> str:
    """One hash for a set of weights: equal weights have equal hashes in every format, framework and dialect."""
    lines = [f"{name} {tensor_sha256(weights[name])}\n" for name in sorted(weights)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
