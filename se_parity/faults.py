"""The faults that ports are known to have, as a table that the oracle can be given one of at a time.

Where such faults were seen: keras #16363, #19291, #22876; transformers #17571; the padding of
AlgoPerf #231; open-instruct #1839, and TF32 in pytorch #178096. A fault of an operation says what the operation gives
instead; a fault of the whole network is another network or other images.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import ml_dtypes  # noqa: F401  lets numpy know bfloat16 by name
import numpy as np
from numpy.typing import NDArray

from se_parity.case import Case
from se_parity.oracle import Array, Margins, Oracle, convolve
from se_spec import Architecture, ArchitectureError, Block, Convolution

Weights = Mapping[str, Array]


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
        return y + _channels(self.weights["bias"]) if "bias" in self.weights else y

    def redone(self, weights: Weights) -> Array | None:
        """The same operation with other weights; None where they do not fit."""
        if any(weights[word].shape != array.shape for word, array in self.weights.items()):
            return None
        other = replace(self, weights=weights)
        if self.kind == "convolution":
            return other.convolved(self.given, weights["weight"])
        if self.kind == "norm":
            return normalised(other, self.epsilon, weights["running_mean"], weights["running_var"])
        return self.given @ weights["weight"].T + weights.get("bias", 0.0)


KINDS = ("convolution", "norm", "dense", "relu", "max-pool", "mean", "gate", "scale", "sum", "average-pool")


@dataclass(frozen=True)
class Fault:
    """`gives` is what an operation of the `kinds` gives instead, or None where it cannot have the fault. `place`
    is the expression that the path of the operation matches."""

    name: str
    kinds: tuple[str, ...]
    gives: Callable[[Operation], Array | None]
    place: str = ".*"

    def planted(self, operation: Operation) -> Array | None:
        """What the operation gives with the fault; None where it cannot have it, or where it changes nothing."""
        if operation.kind not in self.kinds or not re.fullmatch(self.place, operation.path):
            return None
        output = self.gives(operation)
        return None if output is None or np.array_equal(output, operation.output) else output


@dataclass(frozen=True)
class WholeFault:
    """`case` is the case that a network with the fault runs, or None where it cannot have it."""

    name: str
    case: Callable[[Case], Case | None]


def normalised(operation: Operation, epsilon: float, mean: Array, variance: Array) -> Array:
    gain = operation.weights["weight"] / np.sqrt(np.abs(variance) + epsilon)
    return (operation.given - _channels(mean)) * _channels(gain) + _channels(operation.weights["bias"])


def other_epsilon(epsilon: float, operation: Operation) -> Array:
    return normalised(operation, epsilon, operation.weights["running_mean"], operation.weights["running_var"])


def batch_statistics(operation: Operation) -> Array:
    x = operation.given
    return normalised(operation, operation.epsilon, x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3)))


def standard_deviation(power: float, operation: Operation) -> Array:
    weights = operation.weights
    return normalised(operation, operation.epsilon, weights["running_mean"], weights["running_var"] ** power)


def swapped(one: str, other: str, operation: Operation) -> Array | None:
    weights = dict(operation.weights)
    weights[one], weights[other] = weights[other], weights[one]
    return operation.redone(weights)


def reset(values: Mapping[str, float], operation: Operation) -> Array | None:
    if not values.keys() <= operation.weights.keys():
        return None
    changed = {word: np.full_like(operation.weights[word], value) for word, value in values.items()}
    return operation.redone({**operation.weights, **changed})


def rearranged(change: Callable[[Array], Array], operation: Operation) -> Array | None:
    weight = change(operation.weights["weight"])
    return operation.redone({**operation.weights, "weight": weight})


def lopsided(operation: Operation) -> Array | None:
    """Padded as TensorFlow's "same" does: on an even side less before than after."""
    assert operation.convolution
    kernel, stride = operation.convolution.kernel, operation.convolution.stride
    totals = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in operation.given.shape[2:]]
    margins = tuple((total // 2, total - total // 2) for total in totals)
    return operation.convolved(operation.given, operation.weights["weight"], margins)


def kept_bits(bits: int, array: Array) -> Array:
    """Rounded to so many bits behind the leading one: 10 in TF32, 7 in bfloat16."""
    mantissa, exponent = np.frexp(array)
    return np.ldexp(np.round(mantissa * 2.0 ** (bits + 1)) / 2.0 ** (bits + 1), exponent)


def rounded_operands(bits: int, operation: Operation) -> Array | None:
    operands = replace(operation, given=kept_bits(bits, operation.given))
    weights = {**operation.weights, "weight": kept_bits(bits, operation.weights["weight"])}
    return operands.redone(weights)


def fast_statistics(operation: Operation) -> Array:
    """The variance of a batch as the mean of squares less the square of the mean, in float32."""
    x = operation.given.astype(np.float32)
    mean = x.mean(axis=(0, 2, 3), dtype=np.float32)
    variance = np.maximum((x**2).mean(axis=(0, 2, 3), dtype=np.float32) - mean**2, 0)
    return normalised(operation, operation.epsilon, mean.astype(np.float64), variance.astype(np.float64))


def hard_sigmoid(slope: float, operation: Operation) -> Array:
    return np.clip(operation.given * slope + 0.5, 0.0, 1.0)


def largest(operation: Operation) -> Array:
    return operation.given.max(axis=(2, 3))


def input_itself(operation: Operation) -> Array:
    return operation.given


def _transposed(axes: tuple[int, ...]) -> Callable[[Operation], Array | None]:
    return partial(rearranged, lambda weight: weight.transpose(axes))


NORM, CONVOLUTION, DENSE = ("norm",), ("convolution",), ("dense",)

FAULTS = (
    *(
        Fault(f"an epsilon of {epsilon:g}", NORM, partial(other_epsilon, epsilon))
        for epsilon in (1e-3, 1e-4, 2e-5, 1e-5, 1e-6, 0.0)
    ),
    Fault("the statistics of the batch instead of the running ones", NORM, batch_statistics),
    Fault("the fast variance of the batch, in float32", NORM, fast_statistics),
    Fault("running statistics not loaded", NORM, partial(reset, {"running_mean": 0.0, "running_var": 1.0})),
    Fault("running mean not loaded", NORM, partial(reset, {"running_mean": 0.0})),
    Fault("running variance not loaded", NORM, partial(reset, {"running_var": 1.0})),
    Fault("gamma and beta not loaded", NORM, partial(reset, {"weight": 1.0, "bias": 0.0})),
    Fault("gamma not loaded", NORM, partial(reset, {"weight": 1.0})),
    Fault("gamma zero", NORM, partial(reset, {"weight": 0.0})),
    Fault("beta missing", NORM, partial(reset, {"bias": 0.0})),
    Fault("gamma and running variance swapped", NORM, partial(swapped, "weight", "running_var")),
    Fault("beta and running mean swapped", NORM, partial(swapped, "bias", "running_mean")),
    Fault("gamma and beta swapped", NORM, partial(swapped, "weight", "bias")),
    Fault("running mean and variance swapped", NORM, partial(swapped, "running_mean", "running_var")),
    Fault("the variance taken for a standard deviation", NORM, partial(standard_deviation, 2.0)),
    Fault("a standard deviation taken for the variance", NORM, partial(standard_deviation, 0.5)),
    Fault("lopsided padding", CONVOLUTION, lopsided),
    Fault("kernel height and width swapped", CONVOLUTION, _transposed((0, 1, 3, 2))),
    Fault("kernel inputs and outputs swapped", CONVOLUTION, _transposed((1, 0, 2, 3))),
    Fault("kernel turned by 180 degrees", CONVOLUTION, partial(rearranged, lambda weight: weight[:, :, ::-1, ::-1])),
    Fault("kernel inputs reversed", CONVOLUTION, partial(rearranged, lambda weight: weight[:, ::-1])),
    Fault("kernel missing", CONVOLUTION, partial(reset, {"weight": 0.0})),
    Fault("a square matrix not transposed", DENSE, _transposed((1, 0))),
    Fault("bias missing", (*CONVOLUTION, *DENSE), partial(reset, {"bias": 0.0})),
    Fault("weights kept in float16", (*NORM, *CONVOLUTION, *DENSE), lambda operation: _stored("float16", operation)),
    Fault("weights kept in bfloat16", (*NORM, *CONVOLUTION, *DENSE), lambda operation: _stored("bfloat16", operation)),
    Fault("TF32", (*CONVOLUTION, *DENSE), partial(rounded_operands, 10)),
    Fault("bfloat16 products", (*CONVOLUTION, *DENSE), partial(rounded_operands, 7)),
    Fault("no ReLU in the excitation", ("relu",), input_itself, r".*\.se\.relu"),
    Fault("no ReLU after the first norm", ("relu",), input_itself, r".*\d\.relu1"),
    Fault("no ReLU after the second norm", ("relu",), input_itself, r".*\d\.relu2"),
    Fault("no ReLU before the squeeze", ("relu",), input_itself, r".*\.act"),
    Fault("no ReLU in the stem", ("relu",), input_itself, r"relu\d"),
    Fault("no ReLU after the sum", ("sum",), input_itself),
    Fault("a ReLU before the squeeze", NORM, lambda operation: np.maximum(operation.output, 0.0)),
    Fault("no gate", ("scale",), input_itself),
    Fault("the gate applied twice", ("scale",), lambda operation: _regated(operation)),
    Fault("no sigmoid", ("gate",), input_itself),
    Fault("a hard sigmoid of slope 1/5", ("gate",), partial(hard_sigmoid, 0.2)),
    Fault("a hard sigmoid of slope 1/6", ("gate",), partial(hard_sigmoid, 1 / 6)),
    Fault("a softmax for the sigmoid", ("gate",), lambda operation: _softmax(operation.given)),
    Fault("a tanh for the sigmoid", ("gate",), lambda operation: np.tanh(operation.given)),
    Fault("the largest value squeezed for the mean", ("mean",), largest, r".*\.squeeze"),
    Fault("the largest value for the mean in the head", ("mean",), largest, "pool"),
)


def _case_with(change: Callable[[Architecture], Architecture], case: Case) -> Case | None:
    try:
        changed = change(case.architecture)
    except ArchitectureError:
        return None
    return None if changed.computes() == case.architecture.computes() else replace(case, architecture=changed)


def _fact(**facts: object) -> Callable[[Case], Case | None]:
    return partial(_case_with, lambda architecture: architecture.replace(**facts))


def _images(change: Callable[[NDArray], NDArray]) -> Callable[[Case], Case | None]:
    return lambda case: replace(case, images=change(case.images))


def _neighbours(case: Case) -> Case | None:
    """The weights of the last two blocks of every stage that has equal ones, swapped."""
    weights = dict(case.weights)
    for blocks in case.architecture.stages().values():
        if len(blocks) > 2:
            one, other = (f"{block.name}." for block in blocks[-2:])
            for name in [name for name in weights if name.startswith(one)]:
                twin = name.replace(one, other)
                weights[name], weights[twin] = weights[twin], weights[name]
    changed = any(weights[name] is not case.weights[name] for name in weights)
    return replace(case, weights=weights) if changed else None


WHOLE_FAULTS = (
    WholeFault("the stride in the first 1x1", _fact(stride_in="conv1")),
    WholeFault("the stride in the 3x3", _fact(stride_in="conv2")),
    *(WholeFault(f"the max-pool aligned as {pool!r}", _fact(stem={"pool": pool})) for pool in ("pad1", "ceil", "same")),
    WholeFault("a ReLU before every squeeze", _fact(squeeze={"after_relu": True})),
    WholeFault("no ReLU before any squeeze", _fact(squeeze={"after_relu": False})),
    WholeFault("shortcuts that average", _fact(shortcut={"averages": True})),
    WholeFault("shortcuts that do not average", _fact(shortcut={"averages": False})),
    WholeFault("channels reversed (BGR)", _images(lambda images: images[:, ::-1])),
    WholeFault("images mirrored", _images(lambda images: images[..., ::-1])),
    WholeFault("images upside down", _images(lambda images: images[..., ::-1, :])),
    WholeFault("rows and columns of the images swapped", _images(lambda images: images.swapaxes(2, 3))),
    WholeFault("images 255 times too large", _images(lambda images: images * 255)),
    WholeFault("images 255 times too small", _images(lambda images: images / 255)),
    WholeFault("neighbouring blocks swapped", _neighbours),
)


class NoShortcut(Oracle):
    """The residual alone."""

    def add(self, block: Block, residual: Array, x: Array) -> Array:
        return super().add(block, residual, np.zeros_like(x))


class ReluBeforeSum(Oracle):
    """The residual is rectified before it is added."""

    def add(self, block: Block, residual: Array, x: Array) -> Array:
        return super().add(block, np.maximum(residual, 0.0), x)


class GateAfterSum(Oracle):
    """The gate scales the sum."""

    def add(self, block: Block, residual: Array, x: Array) -> Array:
        if not block.has_se:
            return super().add(block, residual, x)
        return self.relu(block.name, self.squeeze_excitation(f"{block.name}.se", self.ungated + x))

    def excite(self, block: Block, residual: Array) -> Array:
        self.ungated = residual
        return residual


class GateOnShortcut(Oracle):
    """The gate scales the shortcut, and is worked out from it."""

    def add(self, block: Block, residual: Array, x: Array) -> Array:
        gated = self.squeeze_excitation(f"{block.name}.se", x) if block.has_se else x
        return super().add(block, residual, gated)

    def excite(self, block: Block, residual: Array) -> Array:
        return residual


class GateBeforeNorm(Oracle):
    """The gate scales what the last norm takes."""

    def norm(self, path: str, x: Array) -> Array:
        name, _, last = path.rpartition(".")
        block = next((block for block in self.architecture.blocks() if block.name == name), None)
        if block and block.has_se and last == f"bn{len(block.convolutions)}":
            x = self.squeeze_excitation(f"{name}.se", x)
        return super().norm(path, x)

    def excite(self, block: Block, residual: Array) -> Array:
        return residual


@dataclass(frozen=True)
class BlockFault:
    """`oracle` runs a block with the fault."""

    name: str
    oracle: type[Oracle]


BLOCK_FAULTS = (
    BlockFault("no shortcut", NoShortcut),
    BlockFault("a ReLU before the sum", ReluBeforeSum),
    BlockFault("the gate after the sum", GateAfterSum),
    BlockFault("the gate on the shortcut", GateOnShortcut),
    BlockFault("the gate before the last norm", GateBeforeNorm),
)


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


def _regated(operation: Operation) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        gate = np.where(operation.given == 0, 0.0, operation.output / operation.given)
    return operation.output * gate


def _stored(dtype: str, operation: Operation) -> Array | None:
    return operation.redone({word: array.astype(dtype).astype(np.float64) for word, array in operation.weights.items()})


def _softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _channels(vector: Array) -> Array:
    return vector[:, None, None]
