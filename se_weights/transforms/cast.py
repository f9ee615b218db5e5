"""Casts weights to another floating-point dtype, and reports and records what was lost."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from se_weights.checkpoint import Checkpoint

DTYPES = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}

CAST = "cast"
"""The key of the reports in a checkpoint's metadata."""


@dataclass(frozen=True)
class CastReport:
    """What the values of one dtype lost in a cast to another.

    Attributes:
        source: The name of the dtype before the cast.
        target: The name of the dtype after the cast.
        tensors: The number of tensors.
        values: The number of values.
        changed: How many values are not equal after the cast.
        overflowed: How many finite values became infinite.
        vanished: How many nonzero values became zero.
        subnormal: How many values are subnormal after the cast, and so have fewer significant digits.
        relative_error: The largest relative error of the other values.
    """

    source: str
    target: str
    tensors: int
    values: int
    changed: int
    overflowed: int
    vanished: int
    subnormal: int
    relative_error: float

    def __str__(self) -> str:
        counts = {"overflowed to infinity": self.overflowed, "became zero": self.vanished, "subnormal": self.subnormal}
        losses = [f"{count:,} {kind}" for kind, count in counts.items() if count]
        losses.append(f"relative error at most {self.relative_error:.1e}")
        return (
            f"{self.source} to {self.target}: {self.changed:,} of {self.values:,} values changed, {', '.join(losses)}"
        )


def cast_to(name: str) -> Callable[[Checkpoint], Checkpoint]:
    """A change for `convert` that casts all weights to another dtype.

    Values are rounded once, to the nearest value and ties to even. The reports are added to the metadata.

    Args:
        name: The dtype: "float64", "float32", "float16" or "bfloat16".

    Returns:
        A function that returns the cast checkpoint, or the checkpoint itself if all weights have that dtype.
    """

    def cast(checkpoint: Checkpoint) -> Checkpoint:
        weights = {key: cast_array(array, DTYPES[name]) for key, array in checkpoint.weights.items()}
        reports = cast_reports(checkpoint.weights, weights)
        if not reports:
            return checkpoint
        return checkpoint.with_weights(weights, {CAST: json.dumps([asdict(report) for report in reports])})

    return cast


def recorded_casts(checkpoint: Checkpoint) -> list[CastReport]:
    """The reports of the last cast of these weights, from the metadata."""
    return parse_cast_reports(checkpoint.metadata.get(CAST, "[]"))


def parse_cast_reports(text: str) -> list[CastReport]:
    """Parse the reports in the metadata. Raises ValueError or TypeError if they are invalid."""
    return [CastReport(**report) for report in json.loads(text)]


def cast_array(array: NDArray, dtype: np.dtype) -> NDArray:
    """Cast an array; values are rounded once, to the nearest value and ties to even.

    Args:
        array: The array, of one of DTYPES.
        dtype: The new type, one of DTYPES.
    """
    if array.dtype == np.float64 and dtype == ml_dtypes.bfloat16:
        array = _round_to_odd(array)  # ml_dtypes casts to float32 in between, which would round twice
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return array.astype(dtype)


def _round_to_odd(array: NDArray) -> NDArray:
    """Round float64 to float32, and set the last bit where that is inexact: a second rounding is then correct.

    Source: Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to
    odd", IEEE Transactions on Computers, 2008.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        nearest = array.astype(np.float32)
        away_from_zero = np.abs(nearest.astype(np.float64)) > np.abs(array)
    truncated = np.where(away_from_zero, np.nextafter(nearest, np.float32(0)), nearest)
    inexact = np.isfinite(array) & (truncated.astype(np.float64) != array)
    return np.where(inexact, (truncated.view(np.uint32) | 1).view(np.float32), nearest)


def cast_reports(before: Mapping[str, NDArray], after: Mapping[str, NDArray]) -> list[CastReport]:
    """Compare weights before and after a cast.

    Args:
        before: The arrays by name.
        after: The same arrays after the cast.

    Returns:
        One report for each pair of different dtypes.
    """
    pairs: dict[tuple[str, str], list[str]] = {}
    for name, array in before.items():
        if array.dtype != after[name].dtype:
            pairs.setdefault((array.dtype.name, after[name].dtype.name), []).append(name)
    return [_cast_report(*pair, [(before[name], after[name]) for name in names]) for pair, names in pairs.items()]


def _cast_report(source: str, target: str, arrays: list[tuple[NDArray, NDArray]]) -> CastReport:
    counts = np.zeros(5, np.int64)
    relative_error = 0.0
    smallest_normal = float(ml_dtypes.finfo(DTYPES[target]).smallest_normal)
    for before, after in arrays:
        old, new = before.astype(np.float64), after.astype(np.float64)
        changed = (old != new) & ~(np.isnan(old) & np.isnan(new))
        overflowed = np.isinf(new) & ~np.isinf(old)
        vanished = (new == 0) & (old != 0)
        subnormal = (np.abs(new) < smallest_normal) & (new != 0)
        counts += [old.size, *(int(mask.sum()) for mask in (changed, overflowed, vanished, subnormal))]
        rest = changed & ~overflowed & ~vanished & ~subnormal
        errors = np.abs(new[rest] - old[rest]) / np.abs(old[rest])
        relative_error = max(relative_error, float(np.max(errors, initial=0.0)))
    values, changed_values, overflowed_values, vanished_values, subnormal_values = map(int, counts)
    return CastReport(
        source,
        target,
        tensors=len(arrays),
        values=values,
        changed=changed_values,
        overflowed=overflowed_values,
        vanished=vanished_values,
        subnormal=subnormal_values,
        relative_error=relative_error,
    )
