"""The float64 reference as it was written from the papers by hand, before it was derived from the graph of a network.

Squeeze-and-Excitation Networks (arXiv 1709.01507), eq. 2-4 and figure 3, over Deep Residual Learning
(arXiv 1512.03385), with groups (arXiv 1611.05431), averaging shortcuts (arXiv 1812.01187) and anti-aliasing. It walks
the blocks of an architecture and never sees the graph; both references share the functions of single operations, which
are tested alone.
"""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from se_parity.case import Case
from se_parity.reference.backward import (
    TrainingPass,
    batch_statistics,
    cross_entropy,
)
from se_parity.reference.convolution import convolution_backward, convolve
from se_parity.reference.oracle import Array, Observer, Statistics, channels, sigmoid
from se_parity.reference.pools import (
    average_pool,
    average_pool_backward,
    blur_pool,
    blur_pool_backward,
    max_pool,
    max_pool_backward,
)
from se_spec import (
    AveragePool,
    Block,
    BlurPool,
    Convolution,
    EfficientChannelAttention,
    SEResNetArchitecture,
)


class HandWrittenOracle:
    """A network that runs in float64 numpy.

    Args:
        architecture: the network.
        weights: arrays of any float dtype by canonical name, with canonical axes; converted to float64.
        observe: called after every operation, such as "layer1.0.conv2"; may replace its output.
        statistics: the mean and variance that a batch norm normalises with; by default its running statistics.
    """

    def __init__(
        self,
        architecture: SEResNetArchitecture,
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
        if self.architecture.input_norm:
            x = self.norm("bn0", x)
        for number, convolution in enumerate(self.architecture.stem_convolutions, start=1):
            x = self.convolution(f"conv{number}", x, convolution)
            if self.architecture.stem.norm:
                x = self.relu(f"relu{number}", self.folded_norm(f"bn{number}", x, convolution))
        if self.architecture.max_pool:
            x = self.observe("maxpool", max_pool(x, self.architecture.max_pool), x)
        x = self.antialias("aa", self.architecture.aa, x)
        for block in self.architecture.blocks():
            x = self.block(block, x) if block.order == "post" else self.preactivated_block(block, x)
        if self.architecture.final_norm:
            x = self.relu("relu", self.norm("norm", x))
        features = self.observe("pool", x.mean(axis=(2, 3)), x)
        return self.dense("fc", features) if self.architecture.num_classes else features

    def block(self, block: Block, x: Array) -> Array:
        """The residual branch, scaled by its gate, plus the shortcut (arXiv 1709.01507, figure 3)."""
        residual = x
        for number, convolution in enumerate(block.convolutions, start=1):
            if number > 1:
                residual = self.relu(f"{block.name}.relu{number - 1}", residual)
            if number == len(block.convolutions):  # the 3x3 that would stride is the one before the last
                residual = self.antialias(f"{block.name}.aa", block.aa, residual)
            residual = self.convolution(f"{block.name}.conv{number}", residual, convolution)
            residual = self.folded_norm(f"{block.name}.bn{number}", residual, convolution)
        if block.relu_before_se:
            residual = self.relu(f"{block.name}.act", residual)
        return self.relu(block.name, self.gated(block, residual) + self.shortcut(block, x))

    def preactivated_block(self, block: Block, x: Array) -> Array:
        """Norm, ReLU, convolution, and so on; a projection takes the first ReLU's output (arXiv 1603.05027, eq. 3)."""
        first, *others = block.convolutions
        activated = self.relu(f"{block.name}.relu1", self.norm(f"{block.name}.bn1", x))
        residual = self.convolution(f"{block.name}.conv1", activated, first)
        for number, (before, convolution) in enumerate(pairwise([first, *others]), start=2):
            residual = self.folded_norm(f"{block.name}.bn{number}", residual, before)
            residual = self.relu(f"{block.name}.relu{number}", residual)
            residual = self.convolution(f"{block.name}.conv{number}", residual, convolution)
        residual = self.gated(block, residual)
        shortcut = self.shortcut(block, activated) if block.projection else x
        return self.observe(block.name, residual + shortcut, residual)

    def gated(self, block: Block, residual: Array) -> Array:
        if isinstance(block.se, EfficientChannelAttention):
            return self.channel_attention(f"{block.name}.se", residual)
        return self.squeeze_excitation(f"{block.name}.se", residual) if block.se else residual

    def shortcut(self, block: Block, x: Array) -> Array:
        if block.pool:
            x = self.observe(f"{block.name}.pool", average_pool(x, block.pool), x)
        if block.projection:
            x = self.convolution(f"{block.name}.downsample.0", x, block.projection)
            if block.shortcut_norm:
                x = self.folded_norm(f"{block.name}.downsample.1", x, block.projection)
        return x

    def squeeze_excitation(self, path: str, x: Array) -> Array:
        """x scaled by sigmoid(W2 relu(W1 z)), where z is the spatial mean of x (arXiv 1709.01507, eq. 2-4)."""
        squeezed = self.observe(f"{path}.squeeze", x.mean(axis=(2, 3)), x)
        hidden = self.relu(f"{path}.relu", self.dense(f"{path}.fc1", squeezed))
        excited = self.dense(f"{path}.fc2", hidden)
        gate = self.observe(f"{path}.gate", sigmoid(excited), excited)
        return self.observe(path, x * gate[:, :, None, None], x)

    def channel_attention(self, path: str, x: Array) -> Array:
        """x scaled by the sigmoid of a convolution of its means over the channels (arXiv 1910.03151, eq. 9)."""
        squeezed = self.observe(f"{path}.squeeze", x.mean(axis=(2, 3)), x)
        kernel = self.weights[f"{path}.conv.weight"][0, 0]
        neighbours = shifted_channels(squeezed, len(kernel))
        excited = self.observe(f"{path}.conv", sum(w * z for w, z in zip(kernel, neighbours, strict=True)), squeezed)
        gate = self.observe(f"{path}.gate", sigmoid(excited), excited)
        return self.observe(path, x * gate[:, :, None, None], x)

    def antialias(self, path: str, pool: AveragePool | BlurPool | None, x: Array) -> Array:
        """The mean of timm's `resnetaa`, or a blur (arXiv 1904.11486)."""
        if not pool:
            return x
        return self.observe(path, blur_pool(x, pool) if isinstance(pool, BlurPool) else average_pool(x, pool), x)

    def convolution(self, path: str, x: Array, convolution: Convolution) -> Array:
        y = convolve(x, self.weights[f"{path}.weight"], convolution)
        return self.observe(path, y + channels(self.weights[f"{path}.bias"]) if convolution.bias else y, x)

    def dense(self, path: str, x: Array) -> Array:
        product = x @ self.weights[f"{path}.weight"].T
        return self.observe(path, product + self.weights.get(f"{path}.bias", 0.0), x)

    def folded_norm(self, path: str, x: Array, convolution: Convolution) -> Array:
        """The norm after a convolution, if it is not folded into it."""
        return x if convolution.folded else self.norm(path, x)

    def norm(self, path: str, x: Array) -> Array:
        layer = owner(self.architecture, path)
        mean, variance = (self.statistics or self.running_statistics)(layer, x)
        gain = self.weights.get(f"{layer}.weight", 1.0) / np.sqrt(variance + self.architecture.bn_epsilon)
        centred = x - channels(mean)
        return self.observe(path, centred * channels(gain) + channels(self.weights[f"{layer}.bias"]), x)

    def running_statistics(self, path: str, x: Array) -> tuple[Array, Array]:
        return self.weights[f"{path}.running_mean"], self.weights[f"{path}.running_var"]

    def relu(self, path: str, x: Array) -> Array:
        return self.observe(path, np.where(np.isnan(x), x, np.maximum(x, 0.0)), x)


def owner(architecture: SEResNetArchitecture, path: str) -> str:
    """The path of the norm whose parameters a norm of a block uses."""
    return path.replace(".bn2", ".bn1") if architecture.shared_norms else path


def shifted_channels(x: Array, count: int) -> list[Array]:
    """Vectors (N, C) whose channel c is that of x at c - count // 2 and so on, and zero where x has no such channel."""
    padded = np.pad(x, ((0, 0), (count // 2, count // 2)))
    return [padded[:, first : first + x.shape[1]] for first in range(count)]


class HandWrittenBackward:
    """One training pass: the constructor runs the network forward, `run` runs it backward.

    Args:
        case: the network, its weights, and the images (N, C, H, W) of the batch.
        labels: integers (N).
    """

    def __init__(self, case: Case, labels: NDArray) -> None:
        self.inputs: dict[str, Array] = {}
        self.outputs: dict[str, Array] = {}
        self.gradients: dict[str, Array] = {}

        def record(path: str, output: Array, x: Array) -> Array:
            self.inputs[path], self.outputs[path] = x, output
            return output

        oracle = HandWrittenOracle(case.architecture, case.weights, observe=record, statistics=batch_statistics)
        self.architecture, self.weights = case.architecture, oracle.weights
        self.logits = oracle.logits(case.images)
        self.labels = labels

    def run(self) -> TrainingPass:
        """Run the backward pass and return its results."""
        loss, d = cross_entropy(self.logits, self.labels)
        self.network(d)
        return TrainingPass(loss, self.gradients, self.updated_statistics())

    def updated_statistics(self) -> dict[str, Array]:
        statistics = {name: array for name, array in self.weights.items() if ".running_" in name}
        for path, x in self.inputs.items():
            layer = owner(self.architecture, path)
            if f"{layer}.running_mean" in statistics:
                mean, variance = batch_statistics(path, x)
                count = x.size // x.shape[1]
                for leaf, new in (("running_mean", mean), ("running_var", variance * count / max(count - 1, 1))):
                    statistics[f"{layer}.{leaf}"] = 0.9 * statistics[f"{layer}.{leaf}"] + 0.1 * new
        return statistics

    def network(self, d: Array) -> None:
        x = self.inputs["pool"]
        d = self.dense("fc", d)
        d = np.broadcast_to(d[:, :, None, None], x.shape) / np.prod(x.shape[2:])
        if self.architecture.final_norm:
            d = self.norm("norm", self.relu("relu", d))
        for block in reversed(list(self.architecture.blocks())):
            d = self.block(block, d) if block.order == "post" else self.preactivated_block(block, d)
        d = self.antialias("aa", self.architecture.aa, d)
        if self.architecture.max_pool:
            d = max_pool_backward(self.inputs["maxpool"], d, self.architecture.max_pool)
        for number, convolution in reversed(list(enumerate(self.architecture.stem_convolutions, start=1))):
            if self.architecture.stem.norm:
                d = self.folded_norm(f"bn{number}", self.relu(f"relu{number}", d), convolution)
            d = self.convolution(f"conv{number}", d, convolution)
        if self.architecture.input_norm:
            self.norm("bn0", d)

    def block(self, block: Block, d: Array) -> Array:
        d = self.relu(block.name, d)
        residual = self.gated(block, d)
        if block.relu_before_se:
            residual = self.relu(f"{block.name}.act", residual)
        for number, convolution in reversed(list(enumerate(block.convolutions, start=1))):
            residual = self.folded_norm(f"{block.name}.bn{number}", residual, convolution)
            residual = self.convolution(f"{block.name}.conv{number}", residual, convolution)
            if number == len(block.convolutions):
                residual = self.antialias(f"{block.name}.aa", block.aa, residual)
            if number > 1:
                residual = self.relu(f"{block.name}.relu{number - 1}", residual)
        return residual + self.shortcut(block, d)

    def preactivated_block(self, block: Block, d: Array) -> Array:
        residual = self.gated(block, d)
        for number, convolution in reversed(list(enumerate(block.convolutions, start=1))):
            residual = self.convolution(f"{block.name}.conv{number}", residual, convolution)
            if number > 1:
                residual = self.relu(f"{block.name}.relu{number}", residual)
                residual = self.folded_norm(f"{block.name}.bn{number}", residual, block.convolutions[number - 2])
        if block.projection:
            residual, d = residual + self.shortcut(block, d), np.zeros(1)
        return d + self.norm(f"{block.name}.bn1", self.relu(f"{block.name}.relu1", residual))

    def gated(self, block: Block, d: Array) -> Array:
        if isinstance(block.se, EfficientChannelAttention):
            return self.channel_attention(f"{block.name}.se", d)
        return self.squeeze_excitation(f"{block.name}.se", d) if block.se else d

    def shortcut(self, block: Block, d: Array) -> Array:
        if block.projection:
            if block.shortcut_norm:
                d = self.folded_norm(f"{block.name}.downsample.1", d, block.projection)
            d = self.convolution(f"{block.name}.downsample.0", d, block.projection)
        return average_pool_backward(self.inputs[f"{block.name}.pool"], d, block.pool) if block.pool else d

    def squeeze_excitation(self, path: str, d: Array) -> Array:
        x, gate = self.inputs[path], self.outputs[f"{path}.gate"]
        excited = (d * x).sum(axis=(2, 3)) * gate * (1 - gate)
        hidden = self.relu(f"{path}.relu", self.dense(f"{path}.fc2", excited))
        squeezed = self.dense(f"{path}.fc1", hidden) / np.prod(x.shape[2:])
        return d * gate[:, :, None, None] + squeezed[:, :, None, None]

    def channel_attention(self, path: str, d: Array) -> Array:
        x, gate, squeezed = self.inputs[path], self.outputs[f"{path}.gate"], self.inputs[f"{path}.conv"]
        excited = (d * x).sum(axis=(2, 3)) * gate * (1 - gate)
        kernel = self.weights[f"{path}.conv.weight"][0, 0]
        neighbours = shifted_channels(squeezed, len(kernel))
        self.gradients[f"{path}.conv.weight"] = np.array([[[(excited * each).sum() for each in neighbours]]])
        reached = shifted_channels(excited, len(kernel))
        d_squeezed = sum(w * z for w, z in zip(kernel[::-1], reached, strict=True)) / np.prod(x.shape[2:])
        return d * gate[:, :, None, None] + d_squeezed[:, :, None, None]

    def antialias(self, path: str, pool: AveragePool | BlurPool | None, d: Array) -> Array:
        if not pool:
            return d
        x = self.inputs[path]
        return blur_pool_backward(x, d, pool) if isinstance(pool, BlurPool) else average_pool_backward(x, d, pool)

    def dense(self, path: str, d: Array) -> Array:
        x, weight = self.inputs[path], self.weights[f"{path}.weight"]
        self.gradients[f"{path}.weight"] = d.T @ x
        if f"{path}.bias" in self.weights:
            self.gradients[f"{path}.bias"] = d.sum(axis=0)
        return d @ weight

    def relu(self, path: str, d: Array) -> Array:
        return d * (self.outputs[path] > 0)

    def folded_norm(self, path: str, d: Array, convolution: Convolution) -> Array:
        return d if convolution.folded else self.norm(path, d)

    def norm(self, path: str, d: Array) -> Array:
        x, axes = self.inputs[path], (0, 2, 3)
        mean, variance = batch_statistics(path, x)
        deviation = np.sqrt(variance + self.architecture.bn_epsilon)
        normal = (x - channels(mean)) / channels(deviation)
        layer = owner(self.architecture, path)
        if f"{layer}.weight" in self.weights:
            self.gradients[f"{layer}.weight"] = (d * normal).sum(axis=axes) + self.gradients.get(f"{layer}.weight", 0.0)
        self.gradients[f"{layer}.bias"] = d.sum(axis=axes) + self.gradients.get(f"{layer}.bias", 0.0)
        centred = d - channels(d.mean(axis=axes)) - normal * channels((d * normal).mean(axis=axes))
        return centred * channels(self.weights.get(f"{layer}.weight", 1.0) / deviation)

    def convolution(self, path: str, d: Array, convolution: Convolution) -> Array:
        x, kernel = self.inputs[path], self.weights[f"{path}.weight"]
        inputs, weights = convolution_backward(x, kernel, d, convolution)
        self.gradients[f"{path}.weight"] = weights
        if convolution.bias:
            self.gradients[f"{path}.bias"] = d.sum(axis=(0, 2, 3))
        return inputs
