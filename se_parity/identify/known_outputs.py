"""What the original code computed for the images, and how far a hypothesis is from it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from se_parity.judge.difference import logit_range

SMALLEST_PROBABILITY = 1e-30
"""Smaller probabilities of float32 have fewer digits, or are zero; they are compared as this one."""

SUM_ERROR = 2.0**-8
"""How far the sum of the probabilities of an image may be from one: each of bfloat16 is rounded by up to 2^-9 of it."""


@dataclass(frozen=True, eq=False)
class KnownOutputs:
    """What the original code computed for the images.

    Attributes:
        kind: "logits", "probabilities" or "labels".
        values: logits or probabilities (N, num_classes), or labels (N).
    """

    kind: str
    values: NDArray

    @property
    def are_labels(self) -> bool:
        return self.kind == "labels"

    def error(self, logits: NDArray) -> float:
        """How far a hypothesis is from these outputs.

        Args:
            logits: (M, num_classes), of the hypothesis for the first M images.

        Returns:
            The largest difference as a share of the range, of logarithms where these are probabilities; or the share of
            labels that differ.
        """
        known = self.values[: len(logits)]
        if self.are_labels:
            return float(np.mean(logits.argmax(axis=1) != known))
        if self.kind == "probabilities":  # which determine the logits up to a constant for each image
            known = _below_largest(np.log(np.maximum(known, SMALLEST_PROBABILITY, dtype=np.float64)))
            logits = _below_largest(logits.astype(np.float64))
        distance = np.abs(logits - known).max() / logit_range(known)
        return float(distance) if np.isfinite(distance) else float("inf")


def known_outputs(
    *, logits: NDArray | None = None, probabilities: NDArray | None = None, labels: NDArray | None = None
) -> KnownOutputs:
    """The most informative of the outputs that are given: logits, else probabilities, else labels.

    Args:
        logits: (N, num_classes). Probabilities, which a network that ends in a softmax returns, are detected: no value
            is negative, and those of each image add up to one.
        probabilities: (N, num_classes).
        labels: (N).

    Raises:
        ValueError: none of them is given, or `probabilities` have negative values or do not add up to one.
    """
    if logits is not None:
        return KnownOutputs("probabilities" if _are_probabilities(logits) else "logits", logits)
    if probabilities is not None:
        if not _are_probabilities(probabilities):
            raise ValueError("`probabilities` must not be negative, and those of each image must add up to one")
        return KnownOutputs("probabilities", probabilities)
    if labels is not None:
        return KnownOutputs("labels", labels)
    raise ValueError("identify needs the logits, the probabilities or the labels of the images")


def _are_probabilities(values: NDArray) -> bool:
    sums = values.sum(axis=1, dtype=np.float64)
    return bool(values.shape[1] > 1 and values.min() >= 0 and np.abs(sums - 1).max() <= SUM_ERROR)


def _below_largest(logarithms: NDArray) -> NDArray:
    """The differences (N, num_classes) from the largest value of each image, as far as probabilities show them."""
    differences = logarithms - logarithms.max(axis=1, keepdims=True)
    return np.maximum(differences, np.log(SMALLEST_PROBABILITY))
