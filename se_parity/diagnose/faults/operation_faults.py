"""The faults of one operation that ports are known to have, as a table that the oracle can be given one of at a time.

Where such faults were seen: keras #16363, #19291, #22876; transformers #17571; the padding of
AlgoPerf #231; open-instruct #1839, and TF32 in pytorch #178096. A fault says what the operation gives instead.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike

from se_parity.reference.operation import Operation
from se_parity.reference.oracle import Array


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


def other_epsilon(epsilon: float, operation: Operation) -> Array:
    return operation.normalised(epsilon, operation.weights["running_mean"], operation.weights["running_var"])


def batch_statistics(operation: Operation) -> Array:
    x = operation.given
    return operation.normalised(operation.epsilon, x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3)))


def standard_deviation(power: float, operation: Operation) -> Array:
    weights = operation.weights
    return operation.normalised(operation.epsilon, weights["running_mean"], weights["running_var"] ** power)


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


def stored(dtype: DTypeLike, operation: Operation) -> Array | None:
    return operation.redone({word: array.astype(dtype).astype(np.float64) for word, array in operation.weights.items()})


def rounded_operands(bits: int, operation: Operation) -> Array | None:
    operands = replace(operation, given=kept_bits(bits, operation.given))
    weights = {**operation.weights, "weight": kept_bits(bits, operation.weights["weight"])}
    return operands.redone(weights)


def fast_statistics(operation: Operation) -> Array:
    """The variance of a batch as the mean of squares less the square of the mean, in float32."""
    x = operation.given.astype(np.float32)
    mean = x.mean(axis=(0, 2, 3), dtype=np.float32)
    variance = np.maximum((x**2).mean(axis=(0, 2, 3), dtype=np.float32) - mean**2, 0)
    return operation.normalised(operation.epsilon, mean.astype(np.float64), variance.astype(np.float64))


def hard_sigmoid(slope: float, operation: Operation) -> Array:
    return np.clip(operation.given * slope + 0.5, 0.0, 1.0)


def gated_twice(operation: Operation) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        gate = np.where(operation.given == 0, 0.0, operation.output / operation.given)
    return operation.output * gate


def softmax(operation: Operation) -> Array:
    x = operation.given
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


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
    Fault("weights kept in float16", (*NORM, *CONVOLUTION, *DENSE), partial(stored, np.float16)),
    Fault("weights kept in bfloat16", (*NORM, *CONVOLUTION, *DENSE), partial(stored, ml_dtypes.bfloat16)),
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
    Fault("the gate applied twice", ("scale",), gated_twice),
    Fault("no sigmoid", ("gate",), input_itself),
    Fault("a hard sigmoid of slope 1/5", ("gate",), partial(hard_sigmoid, 0.2)),
    Fault("a hard sigmoid of slope 1/6", ("gate",), partial(hard_sigmoid, 1 / 6)),
    Fault("a softmax for the sigmoid", ("gate",), softmax),
    Fault("a tanh for the sigmoid", ("gate",), lambda operation: np.tanh(operation.given)),
    Fault("the largest value squeezed for the mean", ("mean",), largest, r".*\.squeeze"),
    Fault("the largest value for the mean in the head", ("mean",), largest, "pool"),
)
