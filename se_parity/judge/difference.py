"""How far an output is from the float64 reference, in several measures."""

from dataclasses import asdict, dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Difference:
    """The difference between an output and its expected values.

    ULPs (units in the last place) are steps of the output's dtype at the expected value. Values below 1e-3 of the range
    are left out: a step of theirs is far below any difference of interest.

    Attributes:
        largest: the largest absolute difference.
        share: `largest` as a share of the range of the expected values.
        ulp_median: the median difference in ULPs.
        ulp_999: the 99.9th percentile of the differences in ULPs.
        ulp_largest: the largest difference in ULPs.
        cosine: the smallest cosine similarity of any row.
        top1: the share of rows with the same largest value.
        top5: the share of rows with the same set of five largest values.
        same_nonfinite: whether NaNs and infinities are in the same places.
    """

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
class LabelAgreement:
    """How many predicted labels are certain, and how many of those are wrong.

    Attributes:
        certified: the share of rows whose two largest expected logits differ by more than twice the limit, so that no
            error within the limit can change their label.
        flipped: the share of rows that are certified and have another label.
    """

    certified: float
    flipped: float


def compare(expected: NDArray, output: NDArray) -> Difference:
    """Measure how far an output is from its expected values.

    Args:
        expected: (N, ...), of any float dtype.
        output: of the same shape; its dtype sets the size of an ULP.

    Raises:
        ValueError: the shapes differ.
    """
    if expected.shape != output.shape:
        raise ValueError(f"cannot compare an output of shape {output.shape} with expected values of {expected.shape}")
    expected64, output64 = expected.astype(np.float64), output.astype(np.float64)
    finite = np.isfinite(expected64) & np.isfinite(output64)
    size, distance = np.abs(expected64[finite]), np.abs(output64[finite] - expected64[finite])
    span = logit_range(expected)
    sizeable = size >= 1e-3 * span
    ulps = distance[sizeable] / ulp_size(size[sizeable], output.dtype)
    rows = expected64.reshape(len(expected64), -1), output64.reshape(len(output64), -1)
    return Difference(
        largest=float(distance.max(initial=0.0)),
        share=float(distance.max(initial=0.0) / span),
        ulp_median=float(np.median(ulps)) if ulps.size else 0.0,
        ulp_999=float(np.quantile(ulps, 0.999)) if ulps.size else 0.0,
        ulp_largest=float(ulps.max(initial=0.0)),
        cosine=_cosine(*rows),
        top1=_top_agreement(*rows, 1),
        top5=_top_agreement(*rows, 5),
        same_nonfinite=_same_nonfinite(expected64, output64),
    )


def label_agreement(expected: NDArray, output: NDArray, limit: float) -> LabelAgreement:
    """Compare the labels (the classes of the largest logits).

    Args:
        expected: the reference's logits (N, num_classes).
        output: a framework's logits (N, num_classes).
        limit: how far each logit may be off; a label is certified where no error within it could change the label.
    """
    if expected.shape[1] < 2:
        return LabelAgreement(certified=1.0, flipped=0.0)
    ordered = np.sort(expected, axis=1)
    certified = ordered[:, -1] - ordered[:, -2] > 2 * limit
    flipped = certified & (expected.argmax(axis=1) != output.astype(np.float64).argmax(axis=1))
    return LabelAgreement(certified=float(certified.mean()), flipped=float(flipped.mean()))


def logit_range(expected: NDArray) -> float:
    """The largest minus the smallest finite value, of which differences are given as shares; 1 where that is 0."""
    finite = expected[np.isfinite(expected)].astype(np.float64)
    return float(np.ptp(finite)) or 1.0 if finite.size else 1.0


def ulp_size(size: NDArray, dtype: Any) -> NDArray[np.float64]:
    """The distance between neighbouring numbers of a dtype.

    Args:
        size: where to measure it, as absolute values; at 0, it is measured at the smallest normal number.
        dtype: the dtype whose numbers they are.
    """
    info = ml_dtypes.finfo(dtype)
    exponent = np.floor(np.log2(np.maximum(size, float(info.smallest_normal))))
    return np.exp2(exponent) * float(info.eps)


def _cosine(expected: NDArray, output: NDArray) -> float:
    finite = np.isfinite(expected) & np.isfinite(output)
    a, b = np.where(finite, expected, 0.0), np.where(finite, output, 0.0)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    products = (a * b).sum(axis=1)
    return float(np.divide(products, lengths, out=np.ones_like(products), where=lengths > 0).min(initial=1.0))


def _top_agreement(expected: NDArray, output: NDArray, count: int) -> float:
    top = [np.sort(np.argsort(-rows, axis=1, kind="stable")[:, :count], axis=1) for rows in (expected, output)]
    return float((top[0] == top[1]).all(axis=1).mean())


def _same_nonfinite(expected: NDArray, output: NDArray) -> bool:
    return all(np.array_equal(where(expected), where(output)) for where in (np.isnan, np.isposinf, np.isneginf))
