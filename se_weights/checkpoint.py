"""Checkpoints: an architecture with its weights and metadata, whatever file they were read from."""

import hashlib
import logging
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
from se_weights.threads import map_in_threads

logger = logging.getLogger("se_weights")

Weights = Mapping[str, NDArray]
"""Arrays by canonical name, on canonical axes."""


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a network, with the architecture and metadata that belong to them.

    Do not modify the arrays in place: their hashes are cached. Use `with_weights` instead.

    Attributes:
        architecture: The architecture of the network.
        weights: The arrays by canonical name (torchvision's names, plus `se.fc1` and `se.fc2`), on canonical axes
            (OIHW, OI), in the order of `se_spec.manifest(architecture)`.
        dialect: The name of the dialect that the weights were read in.
        metadata: Texts that are written to every file of these weights, such as `preprocessing` and `source_sha256`.
    """

    architecture: Architecture
    weights: Weights
    dialect: str = TORCH.name
    metadata: Mapping[str, str] = field(default_factory=dict)

    def with_weights(self, weights: Weights, metadata: Mapping[str, str]) -> "Checkpoint":
        """Return the checkpoint with other weights.

        Args:
            weights: The new weights, of the same architecture.
            metadata: Entries that are added to the metadata. The entry `weights_sha256` is removed, since it is the
                hash of the old weights.
        """
        unchanged = {key: text for key, text in self.metadata.items() if key != "weights_sha256"}
        return replace(self, weights=weights, metadata={**unchanged, **metadata})

    def set_hashes(self, hashes: Mapping[str, str]) -> None:
        """Set `hashes` where the SHA-256 of every tensor is already known."""
        self.__dict__["hashes"] = hashes  # where cached_property stores its value; `replace` does not copy it

    @cached_property
    def hashes(self) -> Mapping[str, str]:
        """The `tensor_sha256` of each tensor by canonical name."""
        return dict(zip(self.weights, map_in_threads(tensor_sha256, self.weights.values()), strict=True))

    @cached_property
    def weights_sha256(self) -> str:
        """The hash of all weights; equal to `se_weights.weights_sha256(self.weights)`."""
        return _combined_sha256(self.hashes)

    @property
    def preprocessing(self) -> Preprocessing | None:
        """The preprocessing and class order of the network, or None if they are not known."""
        text = self.metadata.get("preprocessing")
        return Preprocessing.from_text(text) if text else None


def check(what: str, architecture: Architecture, weights: Weights) -> None:
    """Check names, shapes and dtypes of weights against an architecture.

    Args:
        what: What contains the weights, for the message, such as "the checkpoint".
        architecture: The expected architecture.
        weights: Arrays by canonical name, on canonical axes.

    Raises:
        WeightMismatch: A tensor is missing, unexpected, of the wrong shape or not floating-point; lists all of them.
    """
    differences = TORCH.differences(architecture, {name: np.shape(array) for name, array in weights.items()})
    differences += not_floating({name: array.dtype for name, array in weights.items()})
    if differences:
        raise WeightMismatch(f"{what} does not contain the weights of {architecture.name}", differences)


def check_parts(architecture: Architecture, expected: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Check the parts of a model, whose layers a user may have replaced, against those of its architecture.

    Args:
        architecture: The architecture of the model.
        expected: A description of each part of a new model by its path.
        found: The descriptions of the parts of the model.

    Raises:
        WeightMismatch: A part is missing, unexpected or another one; lists all of them.
    """
    missing = [f"- {path}" for path in expected if path not in found]
    unexpected = [f"+ {path}" for path in found if path not in expected]
    changed = [
        f"! {path} expected {expected[path]}, found {part}"
        for path, part in found.items()
        if part != expected.get(path, part)
    ]
    if differences := missing + unexpected + changed:
        raise WeightMismatch(
            f"parts of the model are not those of {architecture.name}; to leave out a head of several layers, call "
            "reset_classifier(0)",
            differences,
        )


def log_new_classifier(checkpoint: Checkpoint, num_classes: int) -> None:
    """Log a warning that a model starts a new classifier, in place of the one in its file.

    Args:
        checkpoint: What was read from the file.
        num_classes: The number of classes of the new classifier.
    """
    found = checkpoint.architecture.num_classes
    logger.warning(
        "%s has %s: the model starts a new classifier of %d classes",
        checkpoint.metadata.get("source", "the file"),
        f"a classifier of {found} classes, which is left out" if found else "no classifier",
        num_classes,
    )


def not_floating(dtypes: Mapping[str, np.dtype]) -> list[str]:
    """One line of differences for each tensor that is not floating-point."""
    return [
        f"! {name} expected a floating-point type, found {dtype}"
        for name, dtype in dtypes.items()
        if not (np.issubdtype(dtype, np.floating) or dtype == ml_dtypes.bfloat16)
    ]


def all_finite(array: NDArray) -> bool:
    """Whether no value is infinite or NaN. The sum is tested first, which is faster than testing each value."""
    with np.errstate(invalid="ignore", over="ignore"):
        return bool(np.isfinite(array.sum()) or np.isfinite(array).all())


def tensor_sha256(array: NDArray) -> str:
    """The SHA-256 of an array's dtype, shape and values (little-endian, in C order).

    It does not depend on the format of the file that the array was read from.
    """
    little = contiguous(array.astype(array.dtype.newbyteorder("<"), copy=False))
    digest = hashlib.sha256(f"{array.dtype.name}{array.shape}".encode())
    digest.update(little.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def weights_sha256(weights: Weights) -> str:
    """The SHA-256 of a set of weights.

    Equal weights have equal hashes in every format, framework and dialect.

    Args:
        weights: Arrays by canonical name, on canonical axes; their order does not matter.
    """
    return _combined_sha256({name: tensor_sha256(array) for name, array in weights.items()})


def _combined_sha256(hashes: Mapping[str, str]) -> str:
    lines = [f"{name} {hashes[name]}\n" for name in sorted(hashes)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
