"""Known faults of single operations, as a table of functions that compute the faulty output.

Such faults were reported in keras #16363, #19291, #22876; transformers #17571; AlgoPerf #231 (padding);
open-instruct #1839; and pytorch #178096 (TF32).
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
from se_parity.reference.pools import blur_pool
from se_spec.layers import BlurPool, pair


@dataclass(frozen=True)
class Fault:
    """A fault of one operation.

    Attributes:
        name: the name in explanations.
        kinds: the kinds of operation (`Operation.kind`) that can have it.
        faulty_output: computes the output with the fault, or None where the operation cannot have it.
        path: a regular expression that the path of the operation matches.
    """

    name: str
    kinds: tuple[str, ...]
    faulty_output: Callable[[Operation], Array | None]
    path: str = ".*"

    def apply(self, operation: Operation) -> Array | None:
        """The output with the fault; None where the operation cannot have it, or where the output is the same."""
        if operation.kind not in self.kinds or not re.fullmatch(self.path, operation.path):
            return None
        output = self.faulty_output(operation)
        return None if output is None or np.array_equal(output, operation.output) else output


def normalise_with_epsilon(epsilon: float, operation: Operation) -> Array:
    """A batch norm with another epsilon.

    Args:
        epsilon: added to the variance before its square root is taken.
        operation: the batch norm.
    """
    return operation.normalise(epsilon, operation.weights["running_mean"], operation.weights["running_var"])


def normalise_with_batch_statistics(operation: Operation) -> Array:
    x = operation.input
    return operation.normalise(operation.epsilon, x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3)))


def normalise_with_variance_power(power: float, operation: Operation) -> Array:
    """A batch norm whose running variance is raised to a power.

    Args:
        power: 2 where the variance is taken for a standard deviation, 0.5 where it is the other way round.
        operation: the batch norm.
    """
    weights = operation.weights
    return operation.normalise(operation.epsilon, weights["running_mean"], weights["running_var"] ** power)


def swap_parameters(first: str, second: str, operation: Operation) -> Array | None:
    """An operation with two of its parameters swapped.

    Args:
        first: leaf name of a parameter, such as "weight".
        second: leaf name of the other parameter.
        operation: the operation, which has both.

    Returns:
        The output, or None where the shapes differ, or the operation lacks one of the parameters.
    """
    weights = dict(operation.weights)
    if not {first, second} <= weights.keys():
        return None
    weights[first], weights[second] = weights[second], weights[first]
    return operation.with_weights(weights)


def fill_parameters(values: Mapping[str, float], operation: Operation) -> Array | None:
    """An operation with all values of some parameters replaced by a constant.

    Args:
        values: the constant of each parameter, by leaf name.
        operation: the operation.

    Returns:
        The output, or None where the operation lacks one of the parameters.
    """
    if not values.keys() <= operation.weights.keys():
        return None
    changed = {leaf: np.full_like(operation.weights[leaf], value) for leaf, value in values.items()}
    return operation.with_weights({**operation.weights, **changed})


def change_weight(change: Callable[[Array], Array], operation: Operation) -> Array | None:
    """A convolution or dense layer with a changed weight.

    Args:
        change: returns the changed weight; the weight is (O, C / groups, kH, kW) or (O, I).
        operation: the layer.

    Returns:
        The output, or None where the shape of the changed weight differs.
    """
    weight = change(operation.weights["weight"])
    return operation.with_weights({**operation.weights, "weight": weight})


def pad_as_tensorflow(operation: Operation) -> Array | None:
    """Padding as TensorFlow's "same": on an axis of even size it is smaller before than after."""
    assert operation.convolution
    sizes = zip(operation.input.shape[2:], operation.convolution.spans, pair(operation.convolution.stride), strict=True)
    totals = [max((-(-side // stride) - 1) * stride + span - side, 0) for side, span, stride in sizes]
    margins = tuple((total // 2, total - total // 2) for total in totals)
    return operation.convolve(operation.input, operation.weights["weight"], margins)


def round_mantissa(bits: int, array: Array) -> Array:
    """Round to a number of bits after the leading one: 10 in TF32, 7 in bfloat16.

    Args:
        bits: how many bits of the mantissa are kept.
        array: the values; ties round to even.
    """
    mantissa, exponent = np.frexp(array)
    return np.ldexp(np.round(mantissa * 2.0 ** (bits + 1)) / 2.0 ** (bits + 1), exponent)


def store_weights_as(dtype: DTypeLike, operation: Operation) -> Array | None:
    """An operation whose parameters were rounded to another dtype.

    Args:
        dtype: the dtype in which the parameters are stored.
        operation: the operation.
    """
    return operation.with_weights(
        {leaf: array.astype(dtype).astype(np.float64) for leaf, array in operation.weights.items()}
    )


def round_operands(bits: int, operation: Operation) -> Array | None:
    """A convolution or dense layer whose input and weight are rounded.

    Args:
        bits: how many bits of the mantissa are kept, as in `round_mantissa`.
        operation: the layer.
    """
    operands = replace(operation, input=round_mantissa(bits, operation.input))
    weights = {**operation.weights, "weight": round_mantissa(bits, operation.weights["weight"])}
    return operands.with_weights(weights)


def normalise_with_fast_statistics(operation: Operation) -> Array:
    """The batch variance computed as E[x^2] - E[x]^2 in float32, as Flax's `use_fast_variance`."""
    x = operation.input.astype(np.float32)
    mean = x.mean(axis=(0, 2, 3), dtype=np.float32)
    variance = np.maximum((x**2).mean(axis=(0, 2, 3), dtype=np.float32) - mean**2, 0)
    return operation.normalise(operation.epsilon, mean.astype(np.float64), variance.astype(np.float64))


def hard_sigmoid(slope: float, operation: Operation) -> Array:
    """A piecewise linear function in place of the gate's sigmoid.

    Args:
        slope: of the function at 0, where its value is 0.5.
        operation: the gate.
    """
    return np.clip(operation.input * slope + 0.5, 0.0, 1.0)


def gate_twice(operation: Operation) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        gate = np.where(operation.input == 0, 0.0, operation.output / operation.input)
    return operation.output * gate


def softmax(operation: Operation) -> Array:
    x = operation.input
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def circular_channels(operation: Operation) -> Array:
    """A convolution over channels whose first and last channels are neighbours."""
    kernel = operation.weights["weight"][0, 0]
    middle = len(kernel) // 2
    return sum(weight * np.roll(operation.input, middle - tap, axis=1) for tap, weight in enumerate(kernel))


def spatial_maximum(operation: Operation) -> Array:
    return operation.input.max(axis=(2, 3))


def max_of_windows(operation: Operation) -> Array | None:
    """A max-pool for an average pool; None where its windows are not those of a max-pool, such as at an odd end."""
    output = operation.output
    height, width = 2 * output.shape[2], 2 * output.shape[3]
    if height > operation.input.shape[2] or width > operation.input.shape[3]:
        return None
    windows = operation.input[:, :, :height, :width].reshape(*output.shape[:3], 2, output.shape[3], 2)
    return windows.max(axis=(3, 5))


def blur_padded_with_zeros(operation: Operation) -> Array:
    padded = np.pad(operation.input, ((0, 0), (0, 0), (2, 2), (2, 2)))
    return blur_pool(padded, BlurPool())[:, :, 1 : operation.output.shape[2] + 1, 1 : operation.output.shape[3] + 1]


def every_second_value(operation: Operation) -> Array:
    return operation.input[:, :, ::2, ::2]


def skip_operation(operation: Operation) -> Array:
    return operation.input


def _transpose_weight(axes: tuple[int, ...]) -> Callable[[Operation], Array | None]:
    return partial(change_weight, lambda weight: weight.transpose(axes))


NORM, CONVOLUTION, DENSE, CHANNELS = ("norm",), ("convolution",), ("dense",), ("channel-convolution",)
WITH_WEIGHTS = (*NORM, *CONVOLUTION, *DENSE, *CHANNELS)

FAULTS = (
    *(
        Fault(f"an epsilon of {epsilon:g}", NORM, partial(normalise_with_epsilon, epsilon))
        for epsilon in (1e-3, 1e-4, 2e-5, 1e-5, 1e-6, 0.0)
    ),
    Fault("the statistics of the batch instead of the running ones", NORM, normalise_with_batch_statistics),
    Fault("the fast variance of the batch, in float32", NORM, normalise_with_fast_statistics),
    Fault("no norm after the second convolution", NORM, skip_operation, r".*\d\.bn2"),
    Fault("running statistics not loaded", NORM, partial(fill_parameters, {"running_mean": 0.0, "running_var": 1.0})),
    Fault("running mean not loaded", NORM, partial(fill_parameters, {"running_mean": 0.0})),
    Fault("running variance not loaded", NORM, partial(fill_parameters, {"running_var": 1.0})),
    Fault("gamma and beta not loaded", NORM, partial(fill_parameters, {"weight": 1.0, "bias": 0.0})),
    Fault("gamma not loaded", NORM, partial(fill_parameters, {"weight": 1.0})),
    Fault("gamma zero", NORM, partial(fill_parameters, {"weight": 0.0})),
    Fault("beta missing", NORM, partial(fill_parameters, {"bias": 0.0})),
    Fault("gamma and running variance swapped", NORM, partial(swap_parameters, "weight", "running_var")),
    Fault("beta and running mean swapped", NORM, partial(swap_parameters, "bias", "running_mean")),
    Fault("gamma and beta swapped", NORM, partial(swap_parameters, "weight", "bias")),
    Fault("running mean and variance swapped", NORM, partial(swap_parameters, "running_mean", "running_var")),
    Fault("the variance taken for a standard deviation", NORM, partial(normalise_with_variance_power, 2.0)),
    Fault("a standard deviation taken for the variance", NORM, partial(normalise_with_variance_power, 0.5)),
    Fault("lopsided padding", CONVOLUTION, pad_as_tensorflow),
    Fault("kernel height and width swapped", CONVOLUTION, _transpose_weight((0, 1, 3, 2))),
    Fault("kernel inputs and outputs swapped", CONVOLUTION, _transpose_weight((1, 0, 2, 3))),
    Fault("kernel turned by 180 degrees", CONVOLUTION, partial(change_weight, lambda weight: weight[:, :, ::-1, ::-1])),
    Fault("kernel inputs reversed", CONVOLUTION, partial(change_weight, lambda weight: weight[:, ::-1])),
    Fault("kernel turned over the channels", CHANNELS, partial(change_weight, lambda weight: weight[:, :, ::-1])),
    Fault("the last channel beside the first", CHANNELS, circular_channels),
    Fault("kernel missing", (*CONVOLUTION, *CHANNELS), partial(fill_parameters, {"weight": 0.0})),
    Fault("a square matrix not transposed", DENSE, _transpose_weight((1, 0))),
    Fault("bias missing", (*CONVOLUTION, *DENSE), partial(fill_parameters, {"bias": 0.0})),
    Fault("weights kept in float16", WITH_WEIGHTS, partial(store_weights_as, np.float16)),
    Fault("weights kept in bfloat16", WITH_WEIGHTS, partial(store_weights_as, ml_dtypes.bfloat16)),
    Fault("TF32", (*CONVOLUTION, *DENSE, *CHANNELS), partial(round_operands, 10)),
    Fault("bfloat16 products", (*CONVOLUTION, *DENSE, *CHANNELS), partial(round_operands, 7)),
    Fault("no ReLU in the excitation", ("relu",), skip_operation, r".*\.se\.relu"),
    Fault("no ReLU after the first norm", ("relu",), skip_operation, r".*\d\.relu1"),
    Fault("no ReLU after the second norm", ("relu",), skip_operation, r".*\d\.relu2"),
    Fault("no ReLU before the squeeze", ("relu",), skip_operation, r".*\.act"),
    Fault("no ReLU after the last block", ("relu",), skip_operation, "relu"),
    Fault("no ReLU in the stem", ("relu",), skip_operation, r"relu\d|features\.relu0"),
    Fault("no ReLU in the transitions", ("relu",), skip_operation, r".*transition\d\.relu"),
    Fault("the largest value for the mean of a pool", ("average-pool",), max_of_windows),
    Fault("a blur padded with zeros", ("blur",), blur_padded_with_zeros),
    Fault("every second value for a blur", ("blur",), every_second_value),
    Fault("no ReLU after the sum", ("sum",), skip_operation),
    Fault("a ReLU before the squeeze", NORM, lambda operation: np.maximum(operation.output, 0.0)),
    Fault("no gate", ("scale",), skip_operation),
    Fault("the gate applied twice", ("scale",), gate_twice),
    Fault("no sigmoid", ("gate",), skip_operation),
    Fault("a hard sigmoid of slope 1/5", ("gate",), partial(hard_sigmoid, 0.2)),
    Fault("a hard sigmoid of slope 1/6", ("gate",), partial(hard_sigmoid, 1 / 6)),
    Fault("a softmax for the sigmoid", ("gate",), softmax),
    Fault("a tanh for the sigmoid", ("gate",), lambda operation: np.tanh(operation.input)),
    Fault("the largest value squeezed for the mean", ("mean",), spatial_maximum, r".*\.squeeze"),
    Fault("the largest value for the mean in the head", ("mean",), spatial_maximum, "pool"),
)
