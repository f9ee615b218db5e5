"""The float64 reference: SE-ResNet's forward pass in plain numpy, written from the papers.

Squeeze-and-Excitation Networks (arXiv 1709.01507), eq. 2-4 and figure 3, over Deep Residual Learning
(arXiv 1512.03385), with groups (arXiv 1611.05431) and averaging shortcuts (arXiv 1812.01187). Every operation is
the definition's sum; nothing is fused, reordered or approximated.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from se_spec import Architecture, AveragePool, Block, Convolution, MaxPool

Array = NDArray[np.float64]
Observer = Callable[[str, Array, Array], Array]
"""Called after each operation with its canonical path, its output and its input; the returned array replaces the
output."""

Statistics = Callable[[str, Array], tuple[Array, Array]]
"""Called with the path of a batch norm and its input (N, C, H, W); returns the mean and the variance (C) to normalise
with."""


class Oracle:
    """A network that runs in float64 numpy: the reference that frameworks are compared with.

    Each kind of operation has a method, which subclasses may override (se_parity.diagnose.faults.block_faults). Its
    argument `path` is the canonical path of the operation, such as "layer1.0.conv2", and `x` is the input (N, C, H, W)
    or (N, C). It returns the output as `observe` returned it.

    Args:
        architecture: the network.
        weights: arrays of any float dtype by canonical name, with canonical axes; converted to float64.
        observe: called after every operation, such as "layer1.0.conv2"; may replace its output.
        statistics: the mean and variance that a batch norm normalises with; by default its running statistics.
    """

    def __init__(
        self,
        architecture: Architecture,
        weights: Mapping[str, NDArray],
        *,
        observe: Observer = lambda path, output, x: output,
        statistics: Statistics | None = None,
    ) -> None:
        self.architecture = architecture
        self.weights = {name: np.asarray(array, np.float64) for name, array in weights.items()}
        self.observe = observe
        self.statistics = statistics

    def logits(self, images: NDArray) -> Array:
        """Run the network in evaluation mode.

        Args:
            images: (N, C, H, W).

        Returns:
            Logits (N, num_classes), or the pooled features (N, features) where num_classes is 0.
        """
        x = np.asarray(images, np.float64)
        for number, convolution in enumerate(self.architecture.stem_convolutions, start=1):
            x = self.norm(f"bn{number}", self.convolution(f"conv{number}", x, convolution))
            x = self.relu(f"relu{number}", x)
        if self.architecture.max_pool:
            x = self.observe("maxpool", max_pool(x, self.architecture.max_pool), x)
        for block in self.architecture.blocks():
            x = self.block(block, x)
        features = self.observe("pool", x.mean(axis=(2, 3)), x)
        return self.dense("fc", features) if self.architecture.num_classes else features

    def block(self, block: Block, x: Array) -> Array:
        """The residual branch, scaled by its gate, plus the shortcut (arXiv 1709.01507, figure 3)."""
        residual = x
        for number, convolution in enumerate(block.convolutions, start=1):
            if number > 1:
                residual = self.relu(f"{block.name}.relu{number - 1}", residual)
            residual = self.convolution(f"{block.name}.conv{number}", residual, convolution)
            residual = self.norm(f"{block.name}.bn{number}", residual)
        if block.relu_before_se:
            residual = self.relu(f"{block.name}.act", residual)
        residual = self.excite(block, residual)
        if block.pool:
            x = self.observe(f"{block.name}.pool", average_pool(x, block.pool), x)
        if block.projection:
            x = self.convolution(f"{block.name}.downsample.0", x, block.projection)
            x = self.norm(f"{block.name}.downsample.1", x)
        return self.add(block, residual, x)

    def excite(self, block: Block, residual: Array) -> Array:
        return self.squeeze_excitation(f"{block.name}.se", residual) if block.has_se else residual

    def add(self, block: Block, residual: Array, x: Array) -> Array:
        return self.relu(block.name, residual + x)

    def squeeze_excitation(self, path: str, x: Array) -> Array:
        """x scaled by sigmoid(W2 relu(W1 z)), where z is the spatial mean of x (arXiv 1709.01507, eq. 2-4)."""
        squeezed = self.observe(f"{path}.squeeze", x.mean(axis=(2, 3)), x)
        hidden = self.relu(f"{path}.relu", self.dense(f"{path}.fc1", squeezed))
        excited = self.dense(f"{path}.fc2", hidden)
        gate = self.observe(f"{path}.gate", sigmoid(excited), excited)
        return self.observe(path, x * gate[:, :, None, None], x)

    def convolution(self, path: str, x: Array, convolution: Convolution) -> Array:
        y = convolve(x, self.weights[f"{path}.weight"], convolution.stride, convolution.groups)
        return self.observe(path, y + channels(self.weights[f"{path}.bias"]) if convolution.bias else y, x)

    def dense(self, path: str, x: Array) -> Array:
        product = x @ self.weights[f"{path}.weight"].T
        return self.observe(path, product + self.weights.get(f"{path}.bias", 0.0), x)

    def norm(self, path: str, x: Array) -> Array:
        if self.architecture.folded:
            return x
        mean, variance = (self.statistics or self.running_statistics)(path, x)
        gain = self.weights[f"{path}.weight"] / np.sqrt(variance + self.architecture.bn_epsilon)
        centred = x - channels(mean)
        return self.observe(path, centred * channels(gain) + channels(self.weights[f"{path}.bias"]), x)

    def running_statistics(self, path: str, x: Array) -> tuple[Array, Array]:
        return self.weights[f"{path}.running_mean"], self.weights[f"{path}.running_var"]

    def relu(self, path: str, x: Array) -> Array:
        return self.observe(path, np.where(np.isnan(x), x, np.maximum(x, 0.0)), x)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow, and without a warning for NaN."""
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1.0) / (1.0 + small)


Margins = tuple[tuple[int, int], ...]
"""The padding before and after each spatial axis."""


def convolve(x: Array, kernel: Array, stride: int, groups: int = 1, margins: Margins | None = None) -> Array:
    """Cross-correlate images with a kernel.

    Args:
        x: (N, C, H, W).
        kernel: (O, C / groups, kH, kW).
        stride: the same for both axes.
        groups: the number of groups that the channels are split into.
        margins: zero padding before and after each spatial axis; by default half the kernel size on each side.

    Returns:
        (N, O, H', W').
    """
    height, width = kernel.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), *(margins or ((height // 2,) * 2, (width // 2,) * 2))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride]
    pairs = zip(np.split(windows, groups, axis=1), np.split(kernel, groups), strict=True)
    outputs = [np.tensordot(inputs, weights, ((1, 4, 5), (1, 2, 3))) for inputs, weights in pairs]
    return np.concatenate(outputs, axis=3).transpose(0, 3, 1, 2)


def max_pool(x: Array, pool: MaxPool) -> Array:
    """The maximum of each window of (N, C, H, W), padded with minus infinity.

    Args:
        x: (N, C, H, W).
        pool: its kernel, stride and alignment.
    """
    margins = (0, 0), (0, 0), *map(pool.padding, x.shape[2:])
    padded = np.pad(x, margins, constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (pool.kernel, pool.kernel), axis=(2, 3))
    return windows[:, :, :: pool.stride, :: pool.stride].max(axis=(4, 5))


def average_pool(x: Array, pool: AveragePool) -> Array:
    """The mean of each window of (N, C, H, W); padding is not counted, so the last window of an odd side is smaller.

    Args:
        x: (N, C, H, W).
        pool: its kernel and stride.
    """
    rows, columns = (range(0, side, pool.stride) for side in x.shape[2:])
    means = [
        [x[:, :, row : row + pool.kernel, column : column + pool.kernel].mean(axis=(2, 3)) for column in columns]
        for row in rows
    ]
    return np.moveaxis(np.array(means), (0, 1), (2, 3))


def channels(vector: Array) -> Array:
    """Reshape (C) to (C, 1, 1), which broadcasts against (N, C, H, W)."""
    return vector[:, None, None]
