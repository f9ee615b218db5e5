"""One operation of the float64 reference, with all that is needed to compute it again in another way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from se_parity.case import Case
from se_parity.reference.convolution import Margins, convolve, convolve_channels
from se_parity.reference.oracle import Array, channels
from se_spec import Convolution, layers

Weights = Mapping[str, Array]

KINDS: Mapping[type[layers.Operation], str] = {
    layers.Convolution: "convolution",
    layers.BatchNorm: "norm",
    layers.Dense: "dense",
    layers.ChannelConvolution: "channel-convolution",
    layers.ReLU: "relu",
    layers.MaxPool: "max-pool",
    layers.AveragePool: "average-pool",
    layers.BlurPool: "blur",
    layers.MeanOverSpace: "mean",
    layers.Sigmoid: "gate",
    layers.Scale: "scale",
    layers.Concat: "concat",
}
"""What a kind of operation is called. The ReLU after a sum is the "sum": the reference observes them together."""


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation with its input and output.

    Attributes:
        path: its canonical path, such as "layer1.0.conv2".
        kind: one of KINDS, or "sum".
        input: (N, C, H, W) or (N, C).
        output: (N, C, H, W) or (N, C).
        weights: its own parameters by leaf name, such as "running_mean".
        convolution: the settings of a convolution; None for any other kind.
        epsilon: the batch norm epsilon of the network.
    """

    path: str
    kind: str
    input: Array
    output: Array
    weights: Weights
    convolution: Convolution | None
    epsilon: float

    def convolve(self, x: Array, kernel: Array, margins: Margins | None = None) -> Array:
        """The convolution of `x` with another kernel or padding, plus the operation's own bias.

        Args:
            x: (N, C, H, W).
            kernel: (O, C / groups, kH, kW).
            margins: zero padding before and after each spatial axis; by default half the kernel size on each side.

        Returns:
            (N, O, H', W').
        """
        assert self.convolution
        y = convolve(x, kernel, self.convolution, margins)
        return y + channels(self.weights["bias"]) if "bias" in self.weights else y

    def with_weights(self, weights: Weights) -> Array | None:
        """The output with other weights; None where a shape differs."""
        if any(weights[leaf].shape != array.shape for leaf, array in self.weights.items()):
            return None
        other = replace(self, weights=weights)
        if self.kind == "convolution":
            return other.convolve(self.input, weights["weight"])
        if self.kind == "norm":
            return other.normalise(self.epsilon, weights["running_mean"], weights["running_var"])
        if self.kind == "channel-convolution":
            return convolve_channels(self.input, weights["weight"])
        return self.input @ weights["weight"].T + weights.get("bias", 0.0)

    def normalise(self, epsilon: float, mean: Array, variance: Array) -> Array:
        """The output of a batch norm with another epsilon, mean (C) or variance (C).

        Args:
            epsilon: added to the variance before its square root is taken.
            mean: (C).
            variance: (C); its absolute value is taken, since swapped parameters may be negative.

        Returns:
            (N, C, H, W).
        """
        gain = self.weights.get("weight", 1.0) / np.sqrt(np.abs(variance) + epsilon)
        return (self.input - channels(mean)) * channels(gain) + channels(self.weights["bias"])


def operations(case: Case) -> Callable[[str, Array, Array], Operation]:
    """Return a function that makes an Operation from the arguments of an Observer: path, output and input."""
    nodes = {node.path: node for node in case.architecture.graph.nodes}
    by_path: dict[str, dict[str, Array]] = {}
    for name, array in case.weights.items():
        path, _, leaf = name.rpartition(".")
        by_path.setdefault(path, {})[leaf] = np.asarray(array, np.float64)

    def operation(path: str, output: Array, x: Array) -> Operation:
        computed, before = nodes[path].operation, nodes.get(nodes[path].inputs[0])
        kind = (
            "sum"
            if isinstance(computed, layers.ReLU) and before and isinstance(before.operation, layers.Add)
            else KINDS.get(type(computed), type(computed).__name__)
        )
        convolution = computed if isinstance(computed, layers.Convolution) else None
        return Operation(
            path, kind, x, output, by_path.get(nodes[path].layer, {}), convolution, case.architecture.bn_epsilon
        )

    return operation
