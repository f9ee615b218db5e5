"""How far an output is from the truth, in every measure that a person or a limit may ask for."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Difference:
    """`share` is the largest absolute difference over the range of the true values; ULPs are steps of the output's
    dtype at the true value, counted from 1e-3 of the range upwards, where a step means something; top-1 and top-5
    are the shares of rows whose first label, and whose set of first five, agree."""

    largest: float
    share: float
    ulp_median: float
    ulp_largest: float
    top1: float
    top5: float
    same_nonfinite: bool

    @property
    def facts(self) -> dict[str, Any]:
        return asdict(self)


def compare(truth: NDArray, output: NDArray) -> Difference:
    """Compare an output (N, ...) with the truth of the same shape; NaNs and infinities must stand in the same places.

    Raises ValueError where the shapes differ.
    """
    if truth.shape != output.shape:
        raise ValueError(f"an output of shape {output.shape} cannot be compared with the truth of shape {truth.shape}")
    exact, given = truth.astype(np.float64), output.astype(np.float64)
    finite = np.isfinite(exact) & np.isfinite(given)
    size, distance = np.abs(exact[finite]), np.abs(given[finite] - exact[finite])
    span = logit_range(truth)
    sizeable = size >= 1e-3 * span
    steps = distance[sizeable] / np.spacing(size[sizeable].astype(output.dtype)).astype(np.float64)
    rows = exact.reshape(len(exact), -1), given.reshape(len(given), -1)
    return Difference(
        largest=float(distance.max(initial=0.0)),
        share=float(distance.max(initial=0.0) / span),
        ulp_median=float(np.median(steps)) if steps.size else 0.0,
        ulp_largest=float(steps.max(initial=0.0)),
        top1=_agreement(*rows, 1),
        top5=_agreement(*rows, 5),
        same_nonfinite=_same_nonfinite(exact, given),
    )


def logit_range(truth: NDArray) -> float:
    """Largest minus smallest finite value: what differences are shares of."""
    finite = truth[np.isfinite(truth)].astype(np.float64)
    return float(np.ptp(finite)) or 1.0 if finite.size else 1.0


def _agreement(truth: NDArray, output: NDArray, count: int) -> float:
    first = [np.sort(np.argsort(-rows, axis=1, kind="stable")[:, :count], axis=1) for rows in (truth, output)]
    return float((first[0] == first[1]).all(axis=1).mean())


def _same_nonfinite(truth: NDArray, output: NDArray) -> bool:
    return all(np.array_equal(where(truth), where(output)) for where in (np.isnan, np.isposinf, np.isneginf))
