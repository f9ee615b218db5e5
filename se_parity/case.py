"""One question to the frameworks: a network, its weights and images; and the answer that is true."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import se_spec
import se_weights
from se_parity.difference import logit_range
from se_parity.limits import limit_share, stored_as
from se_parity.oracle import Array, Oracle
from se_parity.trained_like import sample_images, trained_like_weights
from se_spec import Architecture


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


def open_case(
    subject: str, *, dialect: str | None = None, batch: int = 3, size: tuple[int, int] = (64, 49), seed: int = 0
) -> Case:
    """The weights of a file, or of an architecture by name, for which trained-like ones are made; and sample images.

    A subject is a file where there is one, or where the text can only mean one. Raises what se_weights.read and
    se_spec.architecture raise.
    """
    if Path(subject).exists() or "." in subject or "/" in subject:
        checkpoint, _ = se_weights.read_settled(subject, dialect=dialect)
        architecture, weights = checkpoint.architecture, checkpoint.weights
    else:
        architecture = se_spec.architecture(subject)
        weights = trained_like_weights(architecture)
    name = f"{batch} x {size[0]}x{size[1]}"
    return Case(name, architecture, weights, sample_images(architecture, batch, *size, seed))


@dataclass(frozen=True, eq=False)
class Truth:
    """The oracle's logits, and how far an output in one dtype may be from them, as a share of their range."""

    logits: Array
    limit: float

    @property
    def range(self) -> float:
        return logit_range(self.logits)


def truth(case: Case, dtype: str) -> Truth:
    """The oracle's answer to a case that is `stored_as` the dtype."""
    logits = Oracle(case.architecture, case.weights).logits(case.images)
    return Truth(logits, limit_share(case.architecture, case.weights, case.images, logits, dtype))
