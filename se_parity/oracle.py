"""The truth: SE-ResNet in plain numpy and float64, written from the paper.

Squeeze-and-Excitation Networks (arXiv 1709.01507), eq. 2-4 and figure 3, over Deep Residual Learning
(arXiv 1512.03385). Every operation is the textbook's sum; nothing is fused, reordered or approximated.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from se_spec import BATCH_NORM_EPSILON, Architecture, Block

Array = NDArray[np.float64]
Observer = Callable[[str, Array], Array]
"""Called with the canonical path of an operation and its output; what it returns goes on in the output's place."""

Statistics = Callable[[str, Array], tuple[Array, Array]]
"""Called with the path of a norm and its input (N, C, H, W); returns the mean and the variance to normalise with."""


class Oracle:
    """One network. `observe` sees, and may change, the output of every operation on its way."""

    def __init__(
        self,
        architecture: Architecture,
        weights: Mapping[str, NDArray],
        *,
        observe: Observer = lambda path, output: output,
        statistics: Statistics | None = None,
    ) -> None:
        self.architecture = architecture
        self.weights = {name: np.asarray(array, np.float64) for name, array in weights.items()}
        self.observe = observe
        self.statistics = statistics or self.running_statistics

    def logits(self, images: NDArray) -> Array:
        """Images (N, C, H, W) to logits (N, num_classes)."""
        x = np.asarray(images, np.float64)
        stem, pool = self.architecture.conv1, self.architecture.max_pool
        x = self.relu("relu", self.norm("bn1", self.convolution("conv1", x, stem.stride)))
        if pool:
            x = self.observe("maxpool", max_pool(x, pool.kernel, pool.stride, pool.padding))
        for block in self.architecture.blocks():
            x = self.block(block, x)
        return self.dense("fc", self.observe("pool", x.mean(axis=(2, 3))))

    def block(self, block: Block, x: Array) -> Array:
        """The residual branch, scaled by its gates, plus the shortcut (paper, figure 3)."""
        residual = x
        for number, convolution in enumerate(block.convolutions, start=1):
            if number > 1:
                residual = self.relu(f"{block.name}.relu{number - 1}", residual)
            residual = self.convolution(f"{block.name}.conv{number}", residual, convolution.stride)
            residual = self.norm(f"{block.name}.bn{number}", residual)
        if block.has_se:
            residual = self.squeeze_excitation(f"{block.name}.se", residual)
        if block.projection:
            x = self.convolution(f"{block.name}.downsample.0", x, block.projection.stride)
            x = self.norm(f"{block.name}.downsample.1", x)
        return self.relu(block.name, residual + x)

    def squeeze_excitation(self, path: str, x: Array) -> Array:
        """x scaled by sigmoid(W2 relu(W1 z)), where z is its mean over space (paper, eq. 2-4)."""
        squeezed = self.observe(f"{path}.squeeze", x.mean(axis=(2, 3)))
        hidden = self.relu(f"{path}.relu", self.dense(f"{path}.fc1", squeezed))
        gate = self.observe(f"{path}.gate", 1 / (1 + np.exp(-self.dense(f"{path}.fc2", hidden))))
        return self.observe(path, x * gate[:, :, None, None])

    def convolution(self, path: str, x: Array, stride: int) -> Array:
        return self.observe(path, convolve(x, self.weights[f"{path}.weight"], stride))

    def dense(self, path: str, x: Array) -> Array:
        product = x @ self.weights[f"{path}.weight"].T
        return self.observe(path, product + self.weights.get(f"{path}.bias", 0.0))

    def norm(self, path: str, x: Array) -> Array:
        mean, variance = self.statistics(path, x)
        gain = self.weights[f"{path}.weight"] / np.sqrt(variance + BATCH_NORM_EPSILON)
        centred = x - _channels(mean)
        return self.observe(path, centred * _channels(gain) + _channels(self.weights[f"{path}.bias"]))

    def running_statistics(self, path: str, x: Array) -> tuple[Array, Array]:
        return self.weights[f"{path}.running_mean"], self.weights[f"{path}.running_var"]

    def relu(self, path: str, x: Array) -> Array:
        return self.observe(path, np.where(np.isnan(x), x, np.maximum(x, 0.0)))


def convolve(x: Array, kernel: Array, stride: int) -> Array:
    """Cross-correlation of (N, C, H, W) with (O, C, kH, kW), with half a kernel of zeros on every side."""
    height, width = kernel.shape[2:]
    margins = (0, 0), (0, 0), (height // 2,) * 2, (width // 2,) * 2
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, margins), (height, width), axis=(2, 3))
    return np.tensordot(windows[:, :, ::stride, ::stride], kernel, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)


def max_pool(x: Array, kernel: int, stride: int, padding: int) -> Array:
    """The largest value of each window of (N, C, H, W), with minus infinity on every side."""
    margins = (0, 0), (0, 0), (padding, padding), (padding, padding)
    padded = np.pad(x, margins, constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(2, 3))
    return windows[:, :, ::stride, ::stride].max(axis=(4, 5))


def _channels(vector: Array) -> Array:
    return vector[:, None, None]
