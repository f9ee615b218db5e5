"""Weights in another floating-point type, where that is asked for; what is lost is counted and recorded."""

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
"""The key of the losses in a checkpoint's metadata."""


@dataclass(frozen=True)
class CastReport:
    """What the values of one type lost in becoming another, to the nearest and ties to even.

    `overflowed` became infinite, `vanished` became zero, `subnormal` kept fewer digits than the type has;
    `relative_error` is the largest among the others.
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
        told = [f"{count:,} {word}" for word, count in counts.items() if count]
        told.append(f"relative error at most {self.relative_error:.1e}")
        return f"{self.source} to {self.target}: {self.changed:,} of {self.values:,} values changed, {', '.join(told)}"


def cast_to(name: str) -> Callable[[Checkpoint], Checkpoint]:
    """A change for `convert`: all weights in this type, one of DTYPES."""

    def cast(checkpoint: Checkpoint) -> Checkpoint:
        weights = {key: cast_array(array, DTYPES[name]) for key, array in checkpoint.weights.items()}
        losses = cast_reports(checkpoint.weights, weights)
        if not losses:
            return checkpoint
        record = json.dumps([asdict(loss) for loss in losses])
        return checkpoint.with_weights(weights, {CAST: record})

    return cast


def recorded_casts(checkpoint: Checkpoint) -> list[CastReport]:
    """The losses that the last cast of these weights recorded."""
    return parse_cast_reports(checkpoint.metadata.get(CAST, "[]"))


def parse_cast_reports(text: str) -> list[CastReport]:
    """Raises ValueError or TypeError where the text is no such record."""
    return [CastReport(**loss) for loss in json.loads(text)]


def cast_array(array: NDArray, dtype: np.dtype) -> NDArray:
    """Rounded once, to the nearest and ties to even."""
    if array.dtype == np.float64 and dtype == ml_dtypes.bfloat16:
        array = _to_odd(array)  # ml_dtypes goes by way of float32, which would round twice
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return array.astype(dtype)


def _to_odd(array: NDArray) -> NDArray:
    """float64 as float32, with the last digit odd where something was cut off: what rounds it again is not misled."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        near = array.astype(np.float32)
        past = np.abs(near.astype(np.float64)) > np.abs(array)
    below = np.where(past, np.nextafter(near, np.float32(0)), near)
    inexact = np.isfinite(array) & (below.astype(np.float64) != array)
    return np.where(inexact, (below.view(np.uint32) | 1).view(np.float32), near)


def cast_reports(before: Mapping[str, NDArray], after: Mapping[str, NDArray]) -> list[CastReport]:
    """The losses of each pair of types among weights before and after."""
    pairs: dict[tuple[str, str], list[str]] = {}
    for name, array in before.items():
        if array.dtype != after[name].dtype:
            pairs.setdefault((array.dtype.name, after[name].dtype.name), []).append(name)
    return [_losses(*pair, [(before[name], after[name]) for name in names]) for pair, names in pairs.items()]


def _losses(source: str, target: str, arrays: list[tuple[NDArray, NDArray]]) -> CastReport:
    counts = np.zeros(5, np.int64)
    worst = 0.0
    tiny = float(ml_dtypes.finfo(DTYPES[target]).smallest_normal)
    for before, after in arrays:
        old, new = before.astype(np.float64), after.astype(np.float64)
        changed = (old != new) & ~(np.isnan(old) & np.isnan(new))
        overflowed = np.isinf(new) & ~np.isinf(old)
        vanished = (new == 0) & (old != 0)
        subnormal = (np.abs(new) < tiny) & (new != 0)
        counts += [old.size, *(int(kind.sum()) for kind in (changed, overflowed, vanished, subnormal))]
        rest = changed & ~overflowed & ~vanished & ~subnormal
        worst = max(worst, float(np.max(np.abs(new[rest] - old[rest]) / np.abs(old[rest]), initial=0.0)))
    values, changed_count, overflow_count, vanished_count, subnormal_count = map(int, counts)
    return CastReport(
        source, target, len(arrays), values, changed_count, overflow_count, vanished_count, subnormal_count, worst
    )
