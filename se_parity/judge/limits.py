"""How far an output may be from the reference: a limit derived for one network, its weights and its images.

Every operation of the reference is perturbed as rounding would perturb it, and the largest error of a tensor that
results is the limit of that tensor. A sum of n products that are added one after another has an error of u sqrt(n / 2)
times its size, where u is half a unit in the last place (Higham and Mary, A New Approach to Probabilistic Rounding
Error Analysis, 2019, for the square root; each partial sum is rounded once). Its size is the root of the sum of the
squared products, so that cancellation between terms does not reduce it. Frameworks add in blocks, so their errors are
smaller.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from se_parity.judge.difference import logit_range
from se_parity.reference.convolution import convolve_channels
from se_parity.reference.oracle import Array, Oracle, channels
from se_spec import Architecture
from se_spec.layers import ChannelShuffle, Concat, Identity, Split

FLOAT64_SHARE = 1e-11
"""The limit in float64, as a share of the logits' range. Rounding causes far smaller errors."""

DRAWS = 4
"""Independent simulations of rounding, of which the largest error counts."""

DEVIATIONS = 3.0
"""Every error is drawn with this multiple of the standard deviation estimated above."""


@dataclass(frozen=True)
class UnitRoundoff:
    """Half a unit in the last place, relative to the value.

    Attributes:
        stored: of the dtype in which outputs are stored.
        summed: of the dtype in which sums are accumulated.
    """

    stored: float
    summed: float


UNIT_ROUNDOFF = {
    "float64": UnitRoundoff(2.0**-53, 2.0**-53),
    "float32": UnitRoundoff(2.0**-24, 2.0**-24),
    "bfloat16": UnitRoundoff(2.0**-8, 2.0**-24),
}
"""By dtype. Sums of bfloat16 products are accumulated in float32 on every processor that the frameworks run on."""


COPIES = (Concat, Split, ChannelShuffle, Identity)
"""Operations that compute no new values."""


class SimulatedRounding:
    """An Observer that perturbs the output of every operation as rounding would.

    Args:
        architecture: the network.
        weights: by canonical name.
        roundoff: of the dtype that is simulated.
        seed: of the random errors.
    """

    def __init__(
        self, architecture: Architecture, weights: Mapping[str, NDArray], roundoff: UnitRoundoff, seed: list[int]
    ) -> None:
        self.weights = weights
        self.epsilon = architecture.bn_epsilon
        nodes = architecture.graph.nodes
        self.copies = {node.path for node in nodes if isinstance(node.operation, COPIES)}
        self.layers = {node.path: node.layer for node in nodes}
        self.roundoff = roundoff
        self.rng = np.random.default_rng(seed)

    def __call__(self, path: str, output: Array, x: Array) -> Array:
        if path in self.copies:
            return output
        stored = self.roundoff.stored * np.abs(output)
        summed = self.roundoff.summed * self._sum_size(self.layers[path], output, x)
        scale = np.sqrt(stored**2 + summed**2)
        return output + DEVIATIONS * scale * self.rng.standard_normal(output.shape)

    def _sum_size(self, path: str, output: Array, x: Array) -> Array:
        """sqrt(n / 2) times the size of the sum that an operation computes; a mean counts as a sum."""
        if f"{path}.running_mean" in self.weights:
            return self._norm_size(path, x)
        kernel = self.weights.get(f"{path}.weight")
        if kernel is not None and kernel.ndim == 3:  # over channels
            return np.sqrt(kernel.size / 2 * convolve_channels(x**2, np.asarray(kernel, np.float64) ** 2))
        if kernel is not None:
            sizes = _product_sizes(x, kernel)
            return sizes.reshape(*sizes.shape, *[1] * (output.ndim - 2))
        if x.ndim == 4 and output.ndim == 2:
            return np.sqrt(np.prod(x.shape[2:]) / 2) * np.abs(x).mean(axis=(2, 3))
        return np.abs(output)

    def _norm_size(self, path: str, x: Array) -> Array:
        """(x - mean) * gain + bias, which some compilers compute as x * gain + (bias - mean * gain)."""
        bias, mean, variance = (
            np.asarray(self.weights[f"{path}.{leaf}"], np.float64)[:, None, None]
            for leaf in ("bias", "running_mean", "running_var")
        )
        gain = channels(np.asarray(self.weights.get(f"{path}.weight", np.ones(len(mean))), np.float64))
        gain = np.abs(gain) / np.sqrt(variance + self.epsilon)
        stored = self.roundoff.stored / self.roundoff.summed  # each term is rounded to the stored dtype
        return stored * (np.abs(x) * gain + np.abs(mean) * gain + np.abs(bias))


def _product_sizes(x: Array, kernel: NDArray) -> Array:
    """For each image and output channel, sqrt(n / 2) times the root of the sum of the squared products."""
    squares = x**2 if x.ndim == 2 else (x**2).mean(axis=(2, 3))
    weights = np.asarray(kernel, np.float64).reshape(*kernel.shape[:2], -1)
    groups = x.shape[1] // kernel.shape[1]
    grouped = squares.reshape(len(x), groups, 1, -1) @ np.swapaxes(
        (weights**2).sum(axis=2).reshape(groups, -1, kernel.shape[1]), 1, 2
    )
    return np.sqrt(np.prod(kernel.shape[1:]) / 2 * grouped.reshape(len(x), -1))


def rounding_errors(
    architecture: Architecture,
    weights: Mapping[str, NDArray],
    images: NDArray,
    expected: Mapping[str, Array],
    dtype: str = "float32",
    seed: int = 0,
) -> dict[str, float]:
    """Simulate rounding in the whole network.

    Args:
        architecture: the network.
        weights: by canonical name.
        images: (N, C, H, W).
        expected: outputs of the reference by canonical path of the operation.
        dtype: whose rounding is simulated.
        seed: of the random errors.

    Returns:
        For each path of `expected`, the largest absolute error of its output over DRAWS simulations.
    """
    largest = dict.fromkeys(expected, 0.0)
    for draw in range(DRAWS):
        rounding = SimulatedRounding(architecture, weights, UNIT_ROUNDOFF[dtype], [seed, draw])

        def observe(path: str, output: Array, x: Array, rounding: SimulatedRounding = rounding) -> Array:
            perturbed = rounding(path, output, x)
            if path in expected:
                errors = np.abs(perturbed - expected[path])
                largest[path] = max(largest[path], float(errors[np.isfinite(errors)].max(initial=0.0)))
            return perturbed

        Oracle(architecture, weights, observe=observe).logits(images)
    return largest


def logits_limit(
    architecture: Architecture,
    weights: Mapping[str, NDArray],
    images: NDArray,
    expected: Array,
    dtype: str = "float32",
    seed: int = 0,
) -> float:
    """The largest error of a logit under simulated rounding, as a share of the logits' range.

    In float64 the limit is FLOAT64_SHARE, unless the network is so ill-conditioned that rounding exceeds it.

    Args:
        architecture: the network.
        weights: by canonical name.
        images: (N, C, H, W).
        expected: the reference's logits (N, num_classes).
        dtype: the dtype whose rounding is simulated.
        seed: of the random errors.
    """
    path = architecture.graph.output
    error = rounding_errors(architecture, weights, images, {path: expected}, dtype, seed)[path]
    share = error / logit_range(expected)
    return max(share, FLOAT64_SHARE) if dtype == "float64" else share
