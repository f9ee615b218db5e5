"""The float64 reference: runs the graph of a network in plain numpy.

Every operation is the definition's sum (arXiv 1709.01507, eq. 2-4; arXiv 1502.03167 for batch norms; arXiv 1611.05431
for groups; arXiv 1812.01187 for averaging shortcuts); nothing is fused, reordered or approximated. A reference that was
written from the papers by hand, without the graph, gives the same values (parity_tests/parity/test_reference.py).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from se_parity.reference.convolution import convolve, convolve_channels
from se_parity.reference.pools import average_pool, blur_pool, max_pool
from se_spec import Architecture, Graph, Node
from se_spec.graph import IMAGES
from se_spec.layers import (
    Add,
    AveragePool,
    BatchNorm,
    BlurPool,
    ChannelConvolution,
    ChannelShuffle,
    Concat,
    Convolution,
    Dense,
    Dropout,
    Identity,
    MaxOverSpace,
    MaxPool,
    MeanOverSpace,
    ReLU,
    ReLU6,
    Scale,
    Sigmoid,
    Softmax,
    Split,
    Tanh,
)

Array = NDArray[np.float64]
Observer = Callable[[str, Array, Array], Array]
"""Called after each operation with its canonical path, its output and its first input; the returned array replaces the
output. A sum is observed together with the ReLU after it, and dropout, which does nothing in evaluation, is not."""

Statistics = Callable[[str, Array], tuple[Array, Array]]
"""Called with the path of a batch norm and its input (N, C, H, W), for each use of a shared one; returns the mean and
the variance (C) to normalise with."""


class Oracle:
    """A network that runs in float64 numpy: the reference that frameworks are compared with.

    Args:
        architecture: the network.
        weights: arrays of any float dtype by canonical name, with canonical axes; converted to float64.
        graph: operations to run instead of the architecture's own, for faults (se_parity.diagnose.faults.block_faults).
        observe: called after every operation, such as "layer1.0.conv2"; may replace its output.
        statistics: the mean and variance that a batch norm normalises with; by default its running statistics.
    """

    def __init__(
        self,
        architecture: Architecture,
        weights: Mapping[str, NDArray],
        *,
        graph: Graph | None = None,
        observe: Observer = lambda path, output, x: output,
        statistics: Statistics | None = None,
    ) -> None:
        self.graph = graph or architecture.graph
        self.weights = {name: np.asarray(array, np.float64) for name, array in weights.items()}
        self.observe = observe
        self.statistics = statistics
        rectified = {node.inputs[0] for node in self.graph.nodes if isinstance(node.operation, ReLU)}
        self.sums = {node.path for node in self.graph.nodes if isinstance(node.operation, Add)} & rectified

    def logits(self, images: NDArray) -> Array:
        """Run the network in evaluation mode.

        Args:
            images: (N, C, H, W).

        Returns:
            Logits (N, num_classes), or the pooled features (N, features) where num_classes is 0.
        """
        return self._run(self.graph.nodes, IMAGES, np.asarray(images, np.float64))

    def module(self, path: str, x: Array) -> Array:
        """Run the operations of a block, or of an SE layer, alone.

        Args:
            path: of the module, such as "layer1.0".
            x: its input (N, C, H, W).
        """
        nodes = [node for node in self.graph.nodes if f"{node.path}.".startswith(f"{path}.")]
        return self._run(nodes, self.graph.module_inputs[path], x)

    def _run(self, nodes: Sequence[Node], source: str, x: Array) -> Array:
        """The output of the last of these nodes, where the operation `source` gave x."""
        outputs = {source: x}
        uses = Counter(path for node in nodes for path in node.inputs)
        for node in nodes:
            outputs[node.path] = self._output(node, *(outputs[path] for path in node.inputs))
            for path in node.inputs:
                uses[path] -= 1
                if not uses[path]:
                    del outputs[path]
        return outputs[nodes[-1].path]

    def _output(self, node: Node, x: Array, *others: Array) -> Array:
        match node.operation:
            case Add() if node.path in self.sums:  # observed with its ReLU
                return x + others[0]
            case Add():
                output = x + others[0]
            case Dropout():
                return x
            case Convolution() as operation:
                kernel, bias = self.weights[f"{node.layer}.weight"], self.weights.get(f"{node.layer}.bias")
                output = convolve(x, kernel, operation)
                output = output if bias is None else output + channels(bias)
            case BatchNorm() as operation:
                mean, variance = (self.statistics or self._running_statistics)(node.layer, x)
                gain = self.weights.get(f"{node.layer}.weight", 1.0) / np.sqrt(variance + operation.epsilon)
                output = (x - channels(mean)) * channels(gain) + channels(self.weights[f"{node.layer}.bias"])
            case Dense():
                output = x @ self.weights[f"{node.layer}.weight"].T + self.weights.get(f"{node.layer}.bias", 0.0)
            case ReLU():
                output = np.where(np.isnan(x), x, np.maximum(x, 0.0))
            case MaxPool() as operation:
                output = max_pool(x, operation)
            case AveragePool() as operation:
                output = average_pool(x, operation)
            case BlurPool() as operation:
                output = blur_pool(x, operation)
            case MeanOverSpace():
                output = x.mean(axis=(2, 3))
            case MaxOverSpace():
                output = x.max(axis=(2, 3))
            case Sigmoid():
                output = sigmoid(x)
            case Scale():
                output = x * others[0][:, :, None, None]
            case Concat():
                output = np.concatenate((x, *others), axis=1)
            case Split(start=start, stop=stop):
                output = x[:, start:stop]
            case ChannelShuffle(groups=groups):
                output = shuffled(x, groups)
            case ChannelConvolution():
                output = convolve_channels(x, self.weights[f"{node.layer}.weight"])
            case ReLU6():
                output = np.where(np.isnan(x), x, np.clip(x, 0.0, 6.0))
            case Tanh():
                output = np.tanh(x)
            case Softmax():
                exponentials = np.exp(x - x.max(axis=1, keepdims=True))
                output = exponentials / exponentials.sum(axis=1, keepdims=True)
            case Identity():
                output = x
            case operation:
                raise NotImplementedError(f"the reference cannot run {operation}")
        return self.observe(node.path, output, x)

    def _running_statistics(self, path: str, x: Array) -> tuple[Array, Array]:
        return self.weights[f"{path}.running_mean"], self.weights[f"{path}.running_var"]


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow, and without a warning for NaN."""
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1.0) / (1.0 + small)


def shuffled(x: Array, groups: int) -> Array:
    """The first channel of every group of (N, C, H, W), then the second one of every group, and so on."""
    return x.reshape(len(x), groups, -1, *x.shape[2:]).swapaxes(1, 2).reshape(x.shape)


def channels(vector: Array) -> Array:
    """Reshape (C) to (C, 1, 1), which broadcasts against (N, C, H, W)."""
    return vector[:, None, None]
