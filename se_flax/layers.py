"""The layers of the networks in Flax NNX: convolution, batch norm, pools, dense and identity, from specifications."""

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.lax import rsqrt, stop_gradient

import se_spec
from se_flax.convolve import convolve


class BatchNorm(nnx.BatchNorm):
    """Flax's BatchNorm over the last axis, with the unbiased variance in its running statistics.

    Flax averages the biased variance of a batch. torch normalises with that too, but averages N / (N - 1) times it,
    where N counts the values of a channel. What Flax has just averaged in is scaled by that factor here.
    Flax also keeps the statistics in float32 whatever dtype the parameters have; here they have the parameters' dtype.

    Args:
        num_features: channels of the input.
        param_dtype: dtype of the gain, the bias and the running statistics.
        **options: further arguments of nnx.BatchNorm.
    """

    def __init__(self, num_features: int, *, param_dtype: Any = jnp.float32, **options: Any) -> None:
        super().__init__(num_features, param_dtype=param_dtype, **options)
        self.mean = nnx.BatchStat(jnp.zeros(num_features, param_dtype))
        self.var = nnx.BatchStat(jnp.ones(num_features, param_dtype))

    def __call__(self, x: Array, use_running_average: bool | None = None, *, mask: Array | None = None) -> Array:
        if self.use_running_average if use_running_average is None else use_running_average:
            gain, bias = (value if value is None else value[...] for value in (self.scale, self.bias))
            values = self.promote_dtype((x, self.mean[...], self.var[...], gain, bias), dtype=self.dtype)
            return _normalize(*values, epsilon=self.epsilon)
        stored = self.var[...].dtype
        self._cast_statistics(jnp.promote_types(stored, jnp.float32))
        kept = self.var[...] * self.momentum
        outputs = super().__call__(x, use_running_average=False, mask=mask)
        averaged_in = self.var[...] - kept
        count = prod(x.shape[:-1])
        self.var[...] = stop_gradient(kept + averaged_in * (count / max(count - 1, 1)))
        self._cast_statistics(stored)
        return outputs

    def _cast_statistics(self, dtype: Any) -> None:
        """Flax averages in float32, and JAX will not assign that to statistics of 16 bits."""
        for statistic in (self.mean, self.var):
            if statistic[...].dtype != dtype:
                statistic.set_value(statistic[...].astype(dtype))


@partial(jax.jit, static_argnames="epsilon", inline=True)
def _normalize(x: Array, mean: Array, var: Array, gain: Array | None, bias: Array | None, *, epsilon: float) -> Array:
    """Flax's formula as one operation: in a model that is not compiled, JAX compiles each operation for each shape."""
    scale = rsqrt(var + epsilon) if gain is None else rsqrt(var + epsilon) * gain
    return (x - mean) * scale if bias is None else (x - mean) * scale + bias


class MaxPool(nnx.Module):
    """A max-pool of (N, H, W, C) with the alignment of its specification, padded with minus infinity.

    Args:
        spec: kernel, stride and alignment. Its padding may depend on the size of the input; that of JAX's "SAME"
            depends on the stride too.
    """

    def __init__(self, spec: se_spec.MaxPool) -> None:
        self.spec = spec

    def __call__(self, x: Array) -> Array:
        window, strides = (self.spec.kernel,) * 2, (self.spec.stride,) * 2
        return nnx.max_pool(x, window, strides, padding=[self.spec.padding(side) for side in x.shape[1:3]])


class BlurPool(nnx.Module):
    """The binomial mean of each window of (N, H, W, C), of stride 2, padded by reflection (arXiv 1904.11486).

    Args:
        spec: weights along an axis, and stride.
    """

    def __init__(self, spec: se_spec.BlurPool) -> None:
        self.spec = spec

    def __call__(self, x: Array) -> Array:
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        (first, middle, last), stride = self.spec.weights, self.spec.stride
        x = first * x[:, :-2:stride] + middle * x[:, 1:-1:stride] + last * x[:, 2::stride]
        return first * x[:, :, :-2:stride] + middle * x[:, :, 1:-1:stride] + last * x[:, :, 2::stride]


class ChannelConvolution(nnx.Conv):
    """A convolution over the channels of vectors (N, C), padded with zeros (ECA-Net, arXiv 1910.03151, eq. 9).

    Weights start uniform within 1 / sqrt(kernel), as in torch.

    Args:
        kernel: number of neighbouring channels that a value is computed from, an odd number.
        **options: `dtype`, `param_dtype` and `rngs`, as the networks take them.
    """

    def __init__(self, kernel: int, **options: Any) -> None:
        initial = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        super().__init__(1, 1, (kernel,), padding=kernel // 2, use_bias=False, kernel_init=initial, **options)

    def __call__(self, x: Array) -> Array:
        return super().__call__(x[..., None])[..., 0]


def convolution(spec: se_spec.Convolution, **options: Any) -> nnx.Conv:
    """A convolution with symmetric padding, He-normal by fan-out (arXiv 1502.01852); biases start at zero.

    Args:
        spec: channels, kernel, stride and groups, and whether it has a bias.
        **options: `dtype`, `param_dtype` and `rngs`, as the networks take them.
    """
    return nnx.Conv(
        spec.in_channels,
        spec.out_channels,
        (spec.kernel, spec.kernel),
        strides=spec.stride,
        padding=tuple((zeros, zeros) for zeros in spec.paddings),
        kernel_dilation=spec.dilation,
        feature_group_count=spec.groups,
        use_bias=spec.bias,
        conv_general_dilated=convolve,
        kernel_init=nnx.initializers.variance_scaling(2, "fan_out", "normal"),
        **options,
    )


def batch_norm(
    spec: se_spec.Convolution, epsilon: float, *, zero_init: bool = False, **options: Any
) -> Callable[[Array], Array]:
    """The batch norm after a convolution, or the identity where it is folded; `zero_init` starts its gain at zero.

    Args:
        spec: the convolution before the norm; a folded one has no norm.
        epsilon: added to the variance before its square root is taken.
        zero_init: whether the gain starts at zero instead of one.
        **options: `dtype`, `param_dtype` and `rngs`, as the networks take them.

    Raises:
        ArchitectureError: `zero_init` for a norm that is folded.
    """
    spec.check_zero_init(zero_init)
    if spec.folded:
        return identity
    return norm(spec.out_channels, epsilon, zero_init=zero_init, **options)


def norm(channels: int, epsilon: float, *, zero_init: bool = False, **options: Any) -> BatchNorm:
    """A batch norm; `zero_init` starts its gain at zero.

    Args:
        channels: channels of its input.
        epsilon: added to the variance before its square root is taken.
        zero_init: whether the gain starts at zero instead of one.
        **options: `dtype`, `param_dtype` and `rngs`, as the networks take them.
    """
    return BatchNorm(
        channels,
        epsilon=epsilon,
        momentum=1 - se_spec.BATCH_NORM_MOMENTUM,
        scale_init=nnx.initializers.zeros if zero_init else nnx.initializers.ones,
        use_fast_variance=False,
        **options,
    )


def optional_norm(spec: se_spec.BatchNorm | None, **options: Any) -> Callable[[Array], Array]:
    """A batch norm, or the identity where there is none.

    Args:
        spec: channels, epsilon and whether it has a gain; None for the identity.
        **options: `dtype`, `param_dtype` and `rngs`, as the networks take them.
    """
    return norm(spec.channels, spec.epsilon, use_scale=spec.gamma, **options) if spec else identity


def relu(applied: bool) -> Callable[[Array], Array]:
    """A ReLU where a network has one; else the identity.

    Args:
        applied: whether it has one.
    """
    return rectified if applied else identity


def rectified(x: Array) -> Array:
    """A layer that returns the larger of its input and zero; unlike JAX's function, it can be pickled."""
    return nnx.relu(x)


def max_pool(spec: se_spec.MaxPool | None) -> Callable[[Array], Array]:
    """The stem's max-pool, padded with minus infinity; the identity where there is none.

    Args:
        spec: kernel, stride and alignment; None for the identity.
    """
    return MaxPool(spec) if spec else identity


def average_pool(spec: se_spec.AveragePool | None) -> Callable[[Array], Array]:
    """An average pool, at an odd end of fewer values or without them; the identity where there is none.

    Args:
        spec: kernel, stride and how it rounds; None for the identity.
    """
    if not spec:
        return identity
    window, strides, padding = (spec.kernel,) * 2, (spec.stride,) * 2, "SAME" if spec.ceil else "VALID"
    return partial(nnx.avg_pool, window_shape=window, strides=strides, padding=padding, count_include_pad=False)


def antialias(spec: se_spec.AveragePool | se_spec.BlurPool | None) -> Callable[[Array], Array]:
    """The pool that strides in the place of a convolution; the identity where there is none.

    Args:
        spec: a mean or a blur; None for the identity.
    """
    return BlurPool(spec) if isinstance(spec, se_spec.BlurPool) else average_pool(spec)


def drop_path(rate: float, **options: Any) -> Callable[[Array], Array]:
    """Stochastic depth (arXiv 1603.09382): drops the residuals of some images in training, and scales the others up.

    Args:
        rate: the probability with which the residual of an image is dropped; at 0 the layer is the identity.
        **options: `dtype`, `param_dtype` and `rngs`, as the networks take them.
    """
    return nnx.Dropout(rate, broadcast_dims=(1, 2, 3), rngs=options["rngs"]) if rate else identity


def dropout(rate: float, **options: Any) -> Callable[[Array], Array]:
    """Dropout; the identity at a rate of zero, which needs no random numbers.

    Args:
        rate: the probability with which a value is dropped.
        **options: `dtype`, `param_dtype` and `rngs`, as the networks take them.
    """
    return nnx.Dropout(rate, rngs=options["rngs"]) if rate else identity


def dense(inputs: int, outputs: int, bias: bool, **options: Any) -> nnx.Linear:
    """A fully connected layer; weights start uniform within 1 / sqrt(inputs), as in torch, biases at zero.

    Args:
        inputs: features of its input (N, inputs).
        outputs: features of its output (N, outputs).
        bias: whether it has a bias.
        **options: `dtype`, `param_dtype` and `rngs`, as the networks take them.
    """
    uniform = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
    initial = uniform if inputs * outputs else nnx.initializers.zeros  # an empty squeeze has no weights to initialise
    return nnx.Linear(inputs, outputs, use_bias=bias, kernel_init=initial, **options)


def identity(x: Array) -> Array:
    """A layer that returns its input."""
    return x
