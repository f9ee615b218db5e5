"""How far an output is from the truth, in every measure that a person or a limit may ask for."""

from dataclasses import asdict, dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Difference:
    """`share` is the largest absolute difference over the range of the true values; ULPs are steps of the output's
    dtype at the true value, counted from 1e-3 of the range upwards, where a step means something; `cosine` is the
    smallest of any row; top-1 and top-5 are the shares of rows whose first label, and whose set of first five, agree;
    NaNs and infinities are the `same_nonfinite` where they stand in the same places."""

    largest: float
    share: float
    ulp_median: float
    ulp_999: float
    ulp_largest: float
    cosine: float
    top1: float
    top5: float
    same_nonfinite: bool

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Labels:
    """`certified` is the share of rows whose two best true values lie further apart than two limits, so that no error
    within the limit can turn their label; `flipped` is the share of the rows that are certified, and turned."""

    certified: float
    flipped: float


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
    steps = distance[sizeable] / spacing(size[sizeable], output.dtype)
    rows = exact.reshape(len(exact), -1), given.reshape(len(given), -1)
    return Difference(
        largest=float(distance.max(initial=0.0)),
        share=float(distance.max(initial=0.0) / span),
        ulp_median=float(np.median(steps)) if steps.size else 0.0,
        ulp_999=float(np.quantile(steps, 0.999)) if steps.size else 0.0,
        ulp_largest=float(steps.max(initial=0.0)),
        cosine=_cosine(*rows),
        top1=_agreement(*rows, 1),
        top5=_agreement(*rows, 5),
        same_nonfinite=_same_nonfinite(exact, given),
    )


def labels(truth: NDArray, output: NDArray, limit: float) -> Labels:
    """Which of the logits' (N, classes) labels a difference up to `limit` cannot turn, and which of those it turned."""
    if truth.shape[1] < 2:
        return Labels(certified=1.0, flipped=0.0)
    best = np.sort(truth, axis=1)
    certain = best[:, -1] - best[:, -2] > 2 * limit
    turned = certain & (truth.argmax(axis=1) != output.astype(np.float64).argmax(axis=1))
    return Labels(certified=float(certain.mean()), flipped=float(turned.mean()))


def logit_range(truth: NDArray) -> float:
    """Largest minus smallest finite value: what differences are shares of."""
    finite = truth[np.isfinite(truth)].astype(np.float64)
    return float(np.ptp(finite)) or 1.0 if finite.size else 1.0


def spacing(size: NDArray, dtype: Any) -> NDArray[np.float64]:
    """One step of the dtype at each size; 0 has the smallest normal number's."""
    info = ml_dtypes.finfo(dtype)
    exponent = np.floor(np.log2(np.maximum(size, float(info.smallest_normal))))
    return np.exp2(exponent) * float(info.eps)


def _cosine(truth: NDArray, output: NDArray) -> float:
    finite = np.isfinite(truth) & np.isfinite(output)
    exact, given = np.where(finite, truth, 0.0), np.where(finite, output, 0.0)
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(given, axis=1)
    products = (exact * given).sum(axis=1)
    return float(np.divide(products, lengths, out=np.ones_like(products), where=lengths > 0).min(initial=1.0))


def _agreement(truth: NDArray, output: NDArray, count: int) -> float:
    first = [np.sort(np.argsort(-rows, axis=1, kind="stable")[:, :count], axis=1) for rows in (truth, output)]
    return float((first[0] == first[1]).all(axis=1).mean())


def _same_nonfinite(truth: NDArray, output: NDArray) -> bool:
    return all(np.array_equal(where(truth), where(output)) for where in (np.isnan, np.isposinf, np.isneginf))
