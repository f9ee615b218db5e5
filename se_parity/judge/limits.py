"""How far an output may be from the truth, derived for one network, its weights and its images.

Every operation of the oracle is disturbed as rounding would disturb it, and the largest movement of a tensor is the
limit of that tensor. A sum of n products, added up one after another, is off by u sqrt(n / 2) times its size, where u
is half a unit in the last place (Higham and Mary, A New Approach to Probabilistic Rounding Error Analysis, 2019, for
the square root; each partial sum is rounded once). Its size is the root of the sum of the squared products: a sum
whose terms cancel is as far off as one whose terms do not. Frameworks add in blocks, so they stay below it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from se_parity.judge.difference import logit_range
from se_parity.reference.oracle import Array, Oracle
from se_spec import Architecture

FLOAT64_SHARE = 1e-11
"""Of the logits' range: what the project promises in float64 (DESIGN, section 5); rounding is far below it."""

DRAWS = 4
"""Independent draws of the simulated rounding."""

DEVIATIONS = 3.0
"""Every error is drawn this many times as large as the estimate above, which is one standard deviation of it."""


@dataclass(frozen=True)
class Arithmetic:
    """The unit roundoffs of what is stored, and of what the terms of a sum are added up in."""

    stored: float
    summed: float


ARITHMETIC = {
    "float64": Arithmetic(2.0**-53, 2.0**-53),
    "float32": Arithmetic(2.0**-24, 2.0**-24),
    "bfloat16": Arithmetic(2.0**-8, 2.0**-24),
}
"""By dtype. Products of bfloat16 are added up in float32 on every processor that the frameworks run on."""


class Rounding:
    """An observer that disturbs every operation as rounding would, at three times the size that is expected."""

    def __init__(self, weights: Mapping[str, NDArray], epsilon: float, arithmetic: Arithmetic, seed: list[int]) -> None:
        self.weights = weights
        self.epsilon = epsilon
        self.arithmetic = arithmetic
        self.rng = np.random.default_rng(seed)

    def __call__(self, path: str, output: Array, given: Array) -> Array:
        stored, summed = (
            self.arithmetic.stored * np.abs(output),
            self.arithmetic.summed * self._sum(path, output, given),
        )
        scale = np.sqrt(stored**2 + summed**2)
        return output + DEVIATIONS * scale * self.rng.standard_normal(output.shape)

    def _sum(self, path: str, output: Array, given: Array) -> Array:
        """sqrt(n / 2) times the size of the sum that an operation is; a mean is one too."""
        kernel = self.weights.get(f"{path}.weight")
        if kernel is not None and kernel.ndim > 1:
            return _expand(_products(given, kernel), output.ndim)
        if kernel is not None:
            return self._norm(path, given)
        if given.ndim == 4 and output.ndim == 2:
            return np.sqrt(np.prod(given.shape[2:]) / 2) * np.abs(given).mean(axis=(2, 3))
        return np.abs(output)

    def _norm(self, path: str, given: Array) -> Array:
        """(x - mean) * gain + bias, which some compilers work out as x * gain + (bias - mean * gain)."""
        gain, bias, mean, variance = (
            np.asarray(self.weights[f"{path}.{word}"], np.float64)[:, None, None]
            for word in ("weight", "bias", "running_mean", "running_var")
        )
        gain = np.abs(gain) / np.sqrt(variance + self.epsilon)
        stored = self.arithmetic.stored / self.arithmetic.summed  # each term is stored on its way
        return stored * (np.abs(given) * gain + np.abs(mean) * gain + np.abs(bias))


def _products(given: Array, kernel: NDArray) -> Array:
    """For each image and output channel, sqrt(n / 2) times the root of the sum of the squared products."""
    squares = given**2 if given.ndim == 2 else (given**2).mean(axis=(2, 3))
    weights = np.asarray(kernel, np.float64).reshape(*kernel.shape[:2], -1)
    groups = given.shape[1] // kernel.shape[1]
    grouped = squares.reshape(len(given), groups, 1, -1) @ np.swapaxes(
        (weights**2).sum(axis=2).reshape(groups, -1, kernel.shape[1]), 1, 2
    )
    return np.sqrt(np.prod(kernel.shape[1:]) / 2 * grouped.reshape(len(given), -1))


def _expand(sizes: Array, ndim: int) -> Array:
    return sizes.reshape(*sizes.shape, *[1] * (ndim - 2))


def movements(
    architecture: Architecture,
    weights: Mapping[str, NDArray],
    images: NDArray,
    truth: Mapping[str, Array],
    dtype: str = "float32",
    seed: int = 0,
) -> dict[str, float]:
    """The largest movement of each tensor of the truth, by path, under simulated rounding."""
    largest = dict.fromkeys(truth, 0.0)
    for draw in range(DRAWS):
        rounding = Rounding(weights, architecture.bn_epsilon, ARITHMETIC[dtype], [seed, draw])

        def observe(path: str, output: Array, given: Array, rounding: Rounding = rounding) -> Array:
            disturbed = rounding(path, output, given)
            if path in truth:
                largest[path] = max(largest[path], _largest(disturbed - truth[path]))
            return disturbed

        Oracle(architecture, weights, observe=observe).logits(images)
    return largest


def limit_share(
    architecture: Architecture,
    weights: Mapping[str, NDArray],
    images: NDArray,
    truth: Array,
    dtype: str = "float32",
    seed: int = 0,
) -> float:
    """The largest movement of a logit under simulated rounding, as a share of the logits' range.

    In float64 it is what the project promises, unless the network is so ill-conditioned that rounding exceeds it.
    """
    path = "fc" if architecture.num_classes else "pool"
    moved = movements(architecture, weights, images, {path: truth}, dtype, seed)[path] / logit_range(truth)
    return max(moved, FLOAT64_SHARE) if dtype == "float64" else moved


def _largest(array: Array) -> float:
    finite = np.abs(array[np.isfinite(array)])
    return float(finite.max(initial=0.0))
