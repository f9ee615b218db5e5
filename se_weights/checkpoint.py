"""A checkpoint: canonical weights, the architecture they belong to, and where they came from."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from se_spec import Architecture
from se_weights.dialects import TORCH
from se_weights.errors import WeightMismatch
from se_weights.layouts import contiguous
from se_weights.preprocessing import Preprocessing
from se_weights.threads import for_each

Weights = Mapping[str, NDArray]
"""Arrays by canonical name, on canonical axes."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights in the manifest's order; `dialect` is the one they were read in, `metadata` what travels with them."""

    architecture: Architecture
    weights: Weights
    dialect: str = TORCH.name
    metadata: Mapping[str, str] = field(default_factory=dict)

    def changed(self, weights: Weights, metadata: Mapping[str, str]) -> "Checkpoint":
        """With other weights, and what is to be said of them; the hash that a file recorded is theirs no longer."""
        kept = {key: text for key, text in self.metadata.items() if key != "weights_sha256"}
        return replace(self, weights=weights, metadata={**kept, **metadata})

    def remember(self, hashes: Mapping[str, str]) -> None:
        """The hashes of the tensors, counted before they are asked for."""
        self.__dict__["hashes"] = hashes  # where cached_property keeps them, and `replace` does not take them

    @cached_property
    def hashes(self) -> Mapping[str, str]:
        """The hash of each tensor, counted once: the weights of a checkpoint are not changed, but replaced."""
        return dict(zip(self.weights, for_each(tensor_sha256, self.weights.values()), strict=True))

    @cached_property
    def weights_sha256(self) -> str:
        """One hash for all weights, as `weights_sha256` of a mapping gives it."""
        return _joint_sha256(self.hashes)

    @property
    def preprocessing(self) -> Preprocessing | None:
        """What the network expects of an image and how its classes are ordered, where that is known."""
        text = self.metadata.get("preprocessing")
        return Preprocessing.from_text(text) if text else None


def check(what: str, architecture: Architecture, weights: Weights) -> None:
    """Raise WeightMismatch, with the whole list, unless these are the architecture's weights, all floating-point."""
    differences = TORCH.differences(architecture, {name: np.shape(array) for name, array in weights.items()})
    differences += not_floating({name: array.dtype for name, array in weights.items()})
    if differences:
        raise WeightMismatch(f"{what} does not hold the weights of {architecture.name}", differences)


def not_floating(dtypes: Mapping[str, np.dtype]) -> list[str]:
    """A line for each type that is not floating-point."""
    return [
        f"! {name} expected a floating-point type, found {dtype}"
        for name, dtype in dtypes.items()
        if not (np.issubdtype(dtype, np.floating) or dtype == ml_dtypes.bfloat16)
    ]


def tensor_sha256(array: NDArray) -> str:
    """The hash of an array's type, shape and little-endian bytes in C order, whatever file it lay in."""
    little = contiguous(array.astype(array.dtype.newbyteorder("<"), copy=False))
    digest = hashlib.sha256(f"{array.dtype.name}{array.shape}".encode())
    digest.update(little.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def weights_sha256(weights: Weights) -> str:
    """One hash for a set of weights: equal weights have equal hashes in every format, framework and dialect."""
    return _joint_sha256({name: tensor_sha256(array) for name, array in weights.items()})


def _joint_sha256(hashes: Mapping[str, str]) -> str:
    lines = [f"{name} {hashes[name]}\n" for name in sorted(hashes)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
