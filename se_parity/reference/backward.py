"""The float64 reference's backward pass in plain numpy: the derivative of every operation, last one first.

Batch normalisation in training (arXiv 1502.03167, section 3) normalises with the statistics of the batch, through
which gradients flow; its running statistics move by BATCH_NORM_MOMENTUM towards the batch's mean and unbiased variance.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from se_parity.case import Case
from se_parity.reference.convolution import channel_convolution_backward, convolution_backward
from se_parity.reference.oracle import Array, Observer, Oracle, channels, shuffled
from se_parity.reference.pools import average_pool_backward, blur_pool_backward, max_pool_backward
from se_spec import BATCH_NORM_MOMENTUM, Node
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

GradientObserver = Callable[[Array, int], Array]
"""Called with a gradient and the number of terms that each of its values sums; the returned array replaces it."""


@dataclass(frozen=True, eq=False)
class TrainingPass:
    """The results of one forward and backward pass in training mode.

    Attributes:
        loss: the mean cross-entropy of the batch.
        gradients: the gradient of every learned parameter, by canonical name.
        statistics: every running mean and variance (C) after the pass, by canonical name.
    """

    loss: float
    gradients: dict[str, Array]
    statistics: dict[str, Array]


def batch_statistics(path: str, x: Array) -> tuple[Array, Array]:
    """The mean and the biased variance (C) of a batch (N, C, H, W); a Statistics function for the Oracle.

    Args:
        path: of the batch norm; not used.
        x: its input (N, C, H, W).
    """
    return x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))


def cross_entropy(logits: Array, labels: NDArray) -> tuple[float, Array]:
    """The mean cross-entropy of a batch, and its gradient with respect to the logits.

    Args:
        logits: (N, classes).
        labels: integers (N).
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rows = np.arange(len(labels))
    d = np.exp(log_probabilities)
    d[rows, labels] -= 1
    return float(-log_probabilities[rows, labels].mean()), d / len(d)


class Backward:
    """One training pass of the reference: the constructor runs the network forward, `run` runs it backward.

    Subclasses override single operations to plant known faults (se_parity.train.training_faults). Their argument
    `node` is the operation in the graph, and `d` is the gradient of the loss with respect to its output; they return
    that with respect to each of its inputs.

    Args:
        case: the network, its weights, and the images (N, C, H, W) of the batch.
        labels: integers (N).
        observe: called after every operation of the forward pass; may replace its output.
        observe_gradient: called with every gradient of the backward pass; may replace it.
    """

    def __init__(
        self,
        case: Case,
        labels: NDArray,
        *,
        observe: Observer = lambda path, output, x: output,
        observe_gradient: GradientObserver = lambda gradient, terms: gradient,
    ) -> None:
        self.inputs: dict[str, Array] = {}
        self.outputs: dict[str, Array] = {}
        self.gradients: dict[str, Array] = {}
        self.observe_gradient = observe_gradient

        def record(path: str, output: Array, x: Array) -> Array:
            self.inputs[path], self.outputs[path] = x, observe(path, output, x)
            return self.outputs[path]

        oracle = Oracle(case.architecture, case.weights, observe=record, statistics=batch_statistics)
        self.graph, self.weights = oracle.graph, oracle.weights
        shapes = self.graph.shapes(case.images.shape[1:])
        self.channel_counts = {path: shape[0] for path, shape in shapes.items()}
        self.logits = oracle.logits(case.images)
        self.labels = labels

    def run(self) -> TrainingPass:
        """Run the backward pass and return its results."""
        loss, d = cross_entropy(self.logits, self.labels)
        self.network(self.loss_gradient(d))
        return TrainingPass(loss, self.gradients, self.updated_statistics())

    def loss_gradient(self, d: Array) -> Array:
        """The gradient of the loss with respect to the logits, from that of the mean cross-entropy."""
        return d

    def updated_statistics(self) -> dict[str, Array]:
        updated: dict[str, Array] = {}
        for node in self.graph.nodes:
            if isinstance(node.operation, BatchNorm):
                for name, new in self.measured_statistics(node.layer, self.inputs[node.path]):
                    before = updated.get(name, self.weights[name])  # a shared norm is updated at each use
                    updated[name] = (1 - BATCH_NORM_MOMENTUM) * before + BATCH_NORM_MOMENTUM * new
        return updated

    def measured_statistics(self, path: str, x: Array) -> list[tuple[str, Array]]:
        """The values that a batch norm's running statistics move towards: the batch's mean and unbiased variance.

        Args:
            path: of the batch norm.
            x: its input (N, C, H, W).

        Returns:
            Pairs of a statistic's canonical name and the batch's value (C).
        """
        mean, variance = batch_statistics(path, x)
        count = x.size // x.shape[1]
        return [(f"{path}.running_mean", mean), (f"{path}.running_var", variance * count / max(count - 1, 1))]

    def network(self, d: Array) -> None:
        gradients = {self.graph.nodes[-1].path: d}
        for node in reversed(self.graph.nodes):
            inputs = self.operation(node, gradients.pop(node.path))
            for path, gradient in zip(node.inputs, inputs, strict=True):
                gradients[path] = gradients[path] + gradient if path in gradients else gradient

    def operation(self, node: Node, d: Array) -> tuple[Array, ...]:
        path = node.path
        match node.operation:
            case Convolution() as operation:
                return self.convolution(path, d, operation)
            case BatchNorm() as operation:
                return self.norm(node, d, operation)
            case Dense():
                return self.dense(path, d)
            case ReLU():
                return (d * (self.outputs[path] > 0),)
            case MaxPool() as operation:
                return (max_pool_backward(self.inputs[path], d, operation),)
            case AveragePool() as operation:
                return (average_pool_backward(self.inputs[path], d, operation),)
            case BlurPool() as operation:
                return (blur_pool_backward(self.inputs[path], d, operation),)
            case MeanOverSpace():
                x = self.inputs[path]
                return (np.broadcast_to(d[:, :, None, None], x.shape) / np.prod(x.shape[2:]),)
            case MaxOverSpace():
                return (max_over_space_backward(self.inputs[path], d),)
            case Sigmoid():
                return (d * self.outputs[path] * (1 - self.outputs[path]),)
            case Tanh():
                return (d * (1 - self.outputs[path] ** 2),)
            case ReLU6():
                return (d * ((self.inputs[path] > 0) & (self.inputs[path] < 6)),)
            case Softmax():
                y = self.outputs[path]
                return (y * (d - (d * y).sum(axis=1, keepdims=True)),)
            case Identity():
                return (d,)
            case Concat():
                ends = np.cumsum([self.channel_counts[name] for name in node.inputs])
                return tuple(np.split(d, ends[:-1], axis=1))
            case Split(start=start, stop=stop):
                inputs = np.zeros_like(self.inputs[path])
                inputs[:, start:stop] = d
                return (inputs,)
            case ChannelShuffle(groups=groups):
                return (shuffled(d, d.shape[1] // groups),)
            case ChannelConvolution() as operation:
                return self.channel_convolution(path, d, operation)
            case Scale():
                return self.scale(node, d)
            case Add():
                return self.add(node, d)
            case operation:
                raise NotImplementedError(f"the reference cannot train {operation}")

    def scale(self, node: Node, d: Array) -> tuple[Array, ...]:
        gates = self.outputs[node.inputs[1]]
        return d * gates[:, :, None, None], (d * self.inputs[node.path]).sum(axis=(2, 3))

    def add(self, node: Node, d: Array) -> tuple[Array, ...]:
        return d, d

    def dense(self, path: str, d: Array) -> tuple[Array, ...]:
        x, weight = self.inputs[path], self.weights[f"{path}.weight"]
        self.store(f"{path}.weight", d.T @ x, len(x))
        if f"{path}.bias" in self.weights:
            self.store(f"{path}.bias", d.sum(axis=0), len(x))
        return (self.observe_gradient(d @ weight, len(weight)),)

    def norm(self, node: Node, d: Array, operation: BatchNorm) -> tuple[Array, ...]:
        x, path, axes = self.inputs[node.path], node.layer, (0, 2, 3)
        mean, variance = batch_statistics(path, x)
        deviation = np.sqrt(variance + operation.epsilon)
        normal = (x - channels(mean)) / channels(deviation)
        count = x.size // x.shape[1]
        if operation.gamma:
            self.store(f"{path}.weight", (d * normal).sum(axis=axes), count)
        self.store(f"{path}.bias", d.sum(axis=axes), count)
        centred = d - channels(d.mean(axis=axes)) - normal * channels((d * normal).mean(axis=axes))
        gain = self.weights.get(f"{path}.weight", 1.0) / deviation
        return (self.observe_gradient(centred * channels(gain), count),)

    def convolution(self, path: str, d: Array, operation: Convolution) -> tuple[Array, ...]:
        x, kernel = self.inputs[path], self.weights[f"{path}.weight"]
        inputs, weights = convolution_backward(x, kernel, d, operation)
        self.store(f"{path}.weight", weights, d.size // d.shape[1])
        if operation.bias:
            self.store(f"{path}.bias", d.sum(axis=(0, 2, 3)), d.size // d.shape[1])
        return (self.observe_gradient(inputs, kernel.size // kernel.shape[1]),)

    def channel_convolution(self, path: str, d: Array, operation: ChannelConvolution) -> tuple[Array, ...]:
        x, kernel = self.inputs[path], self.weights[f"{path}.weight"]
        inputs, weights = channel_convolution_backward(x, kernel, d, operation)
        self.store(f"{path}.weight", weights, d.size)
        return (self.observe_gradient(inputs, operation.kernel),)

    def store(self, name: str, gradient: Array, terms: int) -> None:
        """Store the gradient of a parameter, or add it to that of a later use.

        Args:
            name: canonical name of the parameter.
            gradient: on the axes of the parameter.
            terms: how many terms each of its values sums.
        """
        observed = self.observe_gradient(gradient, terms)
        self.gradients[name] = self.gradients[name] + observed if name in self.gradients else observed


def max_over_space_backward(x: Array, d: Array) -> Array:
    """The gradient of the maxima over space of (N, C, H, W): it goes to the first maximum of each channel.

    Args:
        x: the input (N, C, H, W).
        d: the gradient of the loss with respect to the maxima (N, C).
    """
    gradient = np.zeros_like(x)
    flat = gradient.reshape(*x.shape[:2], -1)
    first = x.reshape(flat.shape).argmax(axis=2)
    np.put_along_axis(flat, first[..., None], d[..., None], axis=2)
    return gradient
