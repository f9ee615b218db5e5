"""One operation of the oracle's run, with what it takes to do it again in another way."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from se_parity.case import Case
from se_parity.reference.oracle import Array, Margins, channels, convolve
from se_spec import Architecture, Convolution

Weights = Mapping[str, Array]

KINDS = ("convolution", "norm", "dense", "relu", "max-pool", "mean", "gate", "scale", "sum", "average-pool")


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation of a run: `kind` is one of KINDS; `weights` are its own, by last word; `given` is its input."""

    path: str
    kind: str
    output: Array
    given: Array
    weights: Weights
    convolution: Convolution | None
    epsilon: float

    def convolved(self, x: Array, kernel: Array, margins: Margins | None = None) -> Array:
        assert self.convolution
        y = convolve(x, kernel, self.convolution.stride, self.convolution.groups, margins)
        return y + channels(self.weights["bias"]) if "bias" in self.weights else y

    def redone(self, weights: Weights) -> Array | None:
        """The same operation with other weights; None where they do not fit."""
        if any(weights[word].shape != array.shape for word, array in self.weights.items()):
            return None
        other = replace(self, weights=weights)
        if self.kind == "convolution":
            return other.convolved(self.given, weights["weight"])
        if self.kind == "norm":
            return other.normalised(self.epsilon, weights["running_mean"], weights["running_var"])
        return self.given @ weights["weight"].T + weights.get("bias", 0.0)

    def normalised(self, epsilon: float, mean: Array, variance: Array) -> Array:
        gain = self.weights["weight"] / np.sqrt(np.abs(variance) + epsilon)
        return (self.given - channels(mean)) * channels(gain) + channels(self.weights["bias"])


def operations(case: Case) -> Callable[[str, Array, Array], Operation]:
    """What makes an Operation of what an observer of the case's oracle is called with."""
    blocks = {block.name: block for block in case.architecture.blocks()}
    convolutions = dict(_convolutions(case.architecture))
    own: dict[str, dict[str, Array]] = {}
    for name, array in case.weights.items():
        path, _, word = name.rpartition(".")
        own.setdefault(path, {})[word] = np.asarray(array, np.float64)

    def operation(path: str, output: Array, given: Array) -> Operation:
        weights = own.get(path, {})
        kind = _kind(path, weights, blocks)
        return Operation(path, kind, output, given, weights, convolutions.get(path), case.architecture.bn_epsilon)

    return operation


def _kind(path: str, weights: Weights, blocks: Mapping[str, object]) -> str:
    if weights:
        return {4: "convolution", 2: "dense", 1: "norm"}[weights["weight"].ndim]
    if path in blocks:
        return "sum"
    last = path.rpartition(".")[2]
    named = {"squeeze": "mean", "gate": "gate", "se": "scale", "maxpool": "max-pool"}
    if last == "pool":
        return "average-pool" if "." in path else "mean"
    return named.get(last, "relu")


def _convolutions(architecture: Architecture) -> Iterator[tuple[str, Convolution]]:
    for number, convolution in enumerate(architecture.stem_convolutions, start=1):
        yield f"conv{number}", convolution
    for block in architecture.blocks():
        for number, convolution in enumerate(block.convolutions, start=1):
            yield f"{block.name}.conv{number}", convolution
        if block.projection:
            yield f"{block.name}.downsample.0", block.projection
