"""The float64 reference: runs the graph of a network in plain numpy.

Every operation is the definition's sum (arXiv 1709.01507, eq. 2-4; arXiv 1502.03167 for batch norms; arXiv 1611.05431
for groups; arXiv 1812.01187 for averaging shortcuts); nothing is fused, reordered or approximated. A reference that was
written from the papers by hand, without the graph, gives the same values (parity_tests/parity/test_reference.py).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from se_spec import Architecture, Graph, Node
from se_spec.graph import IMAGES
from se_spec.layers import (
    Add,
    AveragePool,
    BatchNorm,
    Convolution,
    Dense,
    Dropout,
    MaxPool,
    MeanOverSpace,
    ReLU,
    Scale,
    Sigmoid,
)

Array = NDArray[np.float64]
Observer = Callable[[str, Array, Array], Array]
"""Called after each operation with its canonical path, its output and its first input; the returned array replaces the
output. A sum is observed together with the ReLU after it, and dropout, which does nothing in evaluation, is not."""

Statistics = Callable[[str, Array], tuple[Array, Array]]
"""Called with the path of a batch norm and its input (N, C, H, W); returns the mean and the variance (C) to normalise
with."""


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
            case Add():
                return x + others[0]
            case Dropout():
                return x
            case Convolution() as operation:
                kernel, bias = self.weights[f"{node.path}.weight"], self.weights.get(f"{node.path}.bias")
                output = convolve(x, kernel, operation.stride, operation.groups)
                output = output if bias is None else output + channels(bias)
            case BatchNorm() as operation:
                mean, variance = (self.statistics or self._running_statistics)(node.path, x)
                gain = self.weights[f"{node.path}.weight"] / np.sqrt(variance + operation.epsilon)
                output = (x - channels(mean)) * channels(gain) + channels(self.weights[f"{node.path}.bias"])
            case Dense():
                output = x @ self.weights[f"{node.path}.weight"].T + self.weights.get(f"{node.path}.bias", 0.0)
            case ReLU():
                output = np.where(np.isnan(x), x, np.maximum(x, 0.0))
            case MaxPool() as operation:
                output = max_pool(x, operation)
            case AveragePool() as operation:
                output = average_pool(x, operation)
            case MeanOverSpace():
                output = x.mean(axis=(2, 3))
            case Sigmoid():
                output = sigmoid(x)
            case Scale():
                output = x * others[0][:, :, None, None]
            case operation:
                raise NotImplementedError(f"the reference cannot run {operation}")
        return self.observe(node.path, output, x)

    def _running_statistics(self, path: str, x: Array) -> tuple[Array, Array]:
        return self.weights[f"{path}.running_mean"], self.weights[f"{path}.running_var"]


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
