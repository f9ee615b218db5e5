"""The layers of the networks in Keras 3: convolution, batch norm, pools, dense and identity, from specifications."""

from typing import Any

import keras
from keras import KerasTensor, ops

import se_spec
from se_tf.grouped_convolution import merged_groups, widened

Shape = tuple[int | None, ...]
Padding = list[tuple[Any, Any]]
"""Before and after each spatial axis; integers, or tensors where the size is not known yet."""


@keras.saving.register_keras_serializable("se_tf")
class Convolution(keras.layers.Conv2D):
    """A convolution of (N, H, W, C) that pads half its kernel on every side: at stride 1 that is Keras's `same`.

    Keras's own `same` pads more after than before where it strides.
    """

    @property
    def explicit_padding(self) -> Padding:
        return [(0, 0) if self.padding == "same" else (side // 2, side // 2) for side in self.kernel_size]

    def call(self, inputs: KerasTensor) -> KerasTensor:
        return super().call(padded(inputs, self.explicit_padding, 0.0))

    def convolution_op(self, inputs: KerasTensor, kernel: KerasTensor) -> KerasTensor:
        """Narrow groups are computed together: TensorFlow leaves them to XLA, which is slow at them on a CPU."""
        return super().convolution_op(inputs, widened(kernel, self.groups, merged_groups(kernel.shape[2], self.groups)))

    def compute_output_shape(self, shape: Shape) -> Shape:
        return super().compute_output_shape(padded_shape(shape, self.explicit_padding))


@keras.saving.register_keras_serializable("se_tf")
class BatchNorm(keras.layers.BatchNormalization):
    """Keras's BatchNormalization over the last axis, with the unbiased variance in its running statistics.

    Keras averages the biased variance of a batch. torch normalises with that too, but averages N / (N - 1) times it,
    where N counts the values of a channel. What Keras has just averaged in is scaled by that factor here.
    """

    updates_statistics = True
    """Whether it updates its running statistics in training; not where a forward pass is computed again."""

    def call(self, inputs: KerasTensor, training: bool | None = None, mask: KerasTensor | None = None) -> KerasTensor:
        if not (training and self.trainable):
            return super().call(inputs, training=False, mask=mask)
        if not self.updates_statistics:
            return self.normalised(inputs)
        kept = ops.convert_to_tensor(self.moving_variance) * self.momentum
        outputs = super().call(inputs, training=True, mask=mask)
        averaged_in = self.moving_variance - kept
        count = ops.cast(ops.prod(ops.shape(inputs)[:-1]), self.moving_variance.dtype)
        self.moving_variance.assign(kept + averaged_in * (count / ops.maximum(count - 1, 1)))
        return outputs

    def normalised(self, inputs: KerasTensor) -> KerasTensor:
        """The output in training, with the statistics of the batch, without an update of the running statistics."""
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        gamma, beta = ops.cast(self.gamma, x.dtype), ops.cast(self.beta, x.dtype)
        mean, variance = ops.moments(x, axes=(0, 1, 2), synchronized=self.synchronized)
        return ops.cast(ops.batch_normalization(x, mean, variance, -1, beta, gamma, self.epsilon), self.compute_dtype)


@keras.saving.register_keras_serializable("se_tf")
class MaxPool(keras.layers.MaxPooling2D):
    """A max-pool of (N, H, W, C) with the alignment of its specification, padded with minus infinity.

    Args:
        alignment: where its windows begin, one of se_spec.layers.ALIGNMENTS. Its padding may depend on the image size.
        stride: stride of both axes.
    """

    def __init__(self, alignment: str, stride: int = 2, **kwargs: Any) -> None:
        self.spec = se_spec.MaxPool(alignment, stride=stride)
        super().__init__(self.spec.kernel, self.spec.stride, data_format="channels_last", **kwargs)

    def call(self, inputs: KerasTensor) -> KerasTensor:
        padding = [self.spec.padding(side) for side in ops.shape(inputs)[1:3]]
        return super().call(padded(inputs, padding, float("-inf")))

    def compute_output_shape(self, shape: Shape) -> Shape:
        batch, *sides, channels = shape
        return batch, *(side and self.spec.side(side) for side in sides), channels

    def get_config(self) -> dict[str, Any]:
        config = keras.layers.Layer.get_config(self)
        return {**config, "alignment": self.spec.alignment, "stride": self.spec.stride}


@keras.saving.register_keras_serializable("se_tf")
class BlurPool(keras.layers.Layer):
    """The binomial mean of each window of (N, H, W, C), of stride 2, padded by reflection (arXiv 1904.11486).

    Args:
        weights: the weights along an axis.
        stride: stride of both axes.
    """

    def __init__(self, weights: tuple[float, float, float], stride: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec = se_spec.BlurPool((weights[0], weights[1], weights[2]), stride)

    def call(self, x: KerasTensor) -> KerasTensor:
        x = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        (first, middle, last), stride = self.spec.weights, self.spec.stride
        x = first * x[:, :-2:stride] + middle * x[:, 1:-1:stride] + last * x[:, 2::stride]
        return first * x[:, :, :-2:stride] + middle * x[:, :, 1:-1:stride] + last * x[:, :, 2::stride]

    def compute_output_shape(self, shape: Shape) -> Shape:
        batch, *sides, channels = shape
        return batch, *(side and self.spec.side(side) for side in sides), channels

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weights": self.spec.weights, "stride": self.spec.stride}


@keras.saving.register_keras_serializable("se_tf")
class EmptyDense(keras.layers.Layer):
    """A fully connected layer with no inputs or no outputs, as in an SE layer of an empty squeeze; Keras's has some.

    Args:
        inputs: features of its input (N, inputs).
        units: features of its output (N, units).
        use_bias: whether it has a bias.
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.
    """

    def __init__(self, inputs: int, units: int, use_bias: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.own_config = {"inputs": inputs, "units": units, "use_bias": use_bias}

    def build(self, shape: Shape) -> None:
        units = self.own_config["units"]
        self.kernel = self.add_weight((self.own_config["inputs"], units), name="kernel")
        self.bias = self.add_weight((units,), initializer="zeros", name="bias") if self.own_config["use_bias"] else 0.0

    def call(self, x: KerasTensor) -> KerasTensor:
        return ops.matmul(x, self.kernel) + self.bias

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.own_config}


@keras.saving.register_keras_serializable("se_tf")
class ChannelConvolution(keras.layers.Layer):
    """A convolution over the channels of vectors (N, C), padded with zeros (ECA-Net, arXiv 1910.03151, eq. 9).

    Weights start uniform within 1 / sqrt(kernel), as in torch.

    Args:
        kernel: number of neighbouring channels that a value is computed from, an odd number.
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.
    """

    def __init__(self, kernel: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kernel_size = kernel

    def build(self, shape: Shape) -> None:
        initial = keras.initializers.VarianceScaling(1 / 3, mode="fan_in", distribution="uniform")
        self.kernel = self.add_weight((self.kernel_size, 1, 1), initializer=initial, name="kernel")

    def call(self, x: KerasTensor) -> KerasTensor:
        x = ops.expand_dims(x, -1)
        return ops.squeeze(ops.conv(x, self.kernel, padding="same", data_format="channels_last"), -1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kernel": self.kernel_size}


def convolution(spec: se_spec.Convolution, **kwargs: Any) -> Convolution:
    """A convolution with symmetric padding, He-normal by fan-out (arXiv 1502.01852); biases start at zero.

    Args:
        spec: channels, kernel, stride and groups, and whether it has a bias.
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.
    """
    return Convolution(
        spec.out_channels,
        spec.kernel,
        strides=spec.stride,
        padding="same" if spec.stride == 1 else "valid",
        dilation_rate=spec.dilation,
        groups=spec.groups,
        use_bias=spec.bias,
        kernel_initializer=keras.initializers.VarianceScaling(2, mode="fan_out", distribution="untruncated_normal"),
        data_format="channels_last",
        **kwargs,
    )


def batch_norm(
    spec: se_spec.Convolution, epsilon: float, *, zero_init: bool = False, **kwargs: Any
) -> keras.layers.Layer:
    """The batch norm after a convolution, or the identity where it is folded; `zero_init` starts its gain at zero.

    Args:
        spec: the convolution before the norm; a folded one has no norm.
        epsilon: added to the variance before its square root is taken.
        zero_init: whether the gain starts at zero instead of one.
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.

    Raises:
        ArchitectureError: `zero_init` for a norm that is folded.
    """
    spec.check_zero_init(zero_init)
    if spec.folded:
        return identity(**kwargs)
    return norm(spec.out_channels, epsilon, zero_init=zero_init, **kwargs)


def norm(channels: int, epsilon: float, *, zero_init: bool = False, **kwargs: Any) -> keras.layers.Layer:
    """A batch norm; `zero_init` starts its gain at zero.

    Args:
        channels: channels of its input; not used, since Keras takes them from the input.
        epsilon: added to the variance before its square root is taken.
        zero_init: whether the gain starts at zero instead of one.
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.
    """
    return BatchNorm(
        epsilon=epsilon,
        momentum=1 - se_spec.BATCH_NORM_MOMENTUM,
        gamma_initializer="zeros" if zero_init else "ones",
        **kwargs,
    )


def optional_norm(spec: se_spec.BatchNorm | None, **kwargs: Any) -> keras.layers.Layer:
    """A batch norm, or the identity where there is none.

    Args:
        spec: channels, epsilon and whether it has a gain; None for the identity.
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.
    """
    if not spec:
        return identity(**kwargs)
    return norm(spec.channels, spec.epsilon, scale=spec.gamma, **kwargs)


def relu(applied: bool, **kwargs: Any) -> keras.layers.Layer:
    """A ReLU where a network has one; else the identity.

    Args:
        applied: whether it has one.
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.
    """
    return keras.layers.ReLU(**kwargs) if applied else identity(**kwargs)


def max_pool(spec: se_spec.MaxPool | None, **kwargs: Any) -> keras.layers.Layer:
    """The stem's max-pool, padded with minus infinity; the identity where there is none.

    Args:
        spec: kernel, stride and alignment; None for the identity.
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.
    """
    return MaxPool(spec.alignment, spec.stride, **kwargs) if spec else identity(**kwargs)


def average_pool(spec: se_spec.AveragePool | None, **kwargs: Any) -> keras.layers.Layer:
    """An average pool, at an odd end of fewer values or without them; the identity where there is none.

    Args:
        spec: kernel, stride and how it rounds; None for the identity.
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.
    """
    if not spec:
        return identity(**kwargs)
    return keras.layers.AveragePooling2D(
        spec.kernel, spec.stride, "same" if spec.ceil else "valid", data_format="channels_last", **kwargs
    )


def antialias(spec: se_spec.AveragePool | se_spec.BlurPool | None, **kwargs: Any) -> keras.layers.Layer:
    """The pool that strides in the place of a convolution; the identity where there is none.

    Args:
        spec: a mean or a blur; None for the identity.
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.
    """
    if isinstance(spec, se_spec.BlurPool):
        return BlurPool(spec.weights, spec.stride, **kwargs)
    return average_pool(spec, **kwargs)


def drop_path(rate: float, **kwargs: Any) -> keras.layers.Layer:
    """Stochastic depth (arXiv 1603.09382): drops the residuals of some images in training, and scales the others up.

    Args:
        rate: the probability with which the residual of an image is dropped; at 0 the layer is the identity.
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.
    """
    if not rate:
        return identity(**kwargs)
    return keras.layers.Dropout(rate, noise_shape=(None, 1, 1, 1), **kwargs)


def dense(inputs: int, outputs: int, bias: bool, **kwargs: Any) -> keras.layers.Layer:
    """A fully connected layer; weights start uniform within 1 / sqrt(inputs), as in torch, biases at zero.

    Args:
        inputs: features of its input (N, inputs).
        outputs: features of its output (N, outputs).
        bias: whether it has a bias.
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.
    """
    if not inputs * outputs:
        return EmptyDense(inputs, outputs, bias, **kwargs)
    uniform = keras.initializers.VarianceScaling(1 / 3, mode="fan_in", distribution="uniform")
    return keras.layers.Dense(outputs, use_bias=bias, kernel_initializer=uniform, **kwargs)


def identity(**kwargs: Any) -> keras.layers.Layer:
    """A layer that returns its input. Keras's own Identity cannot be cloned once it has a dtype policy.

    Args:
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.
    """
    return keras.layers.Activation("linear", **kwargs)


def padded(images: KerasTensor, padding: Padding, value: float) -> KerasTensor:
    """Images (N, H, W, C) with a constant value before and after each spatial axis.

    Args:
        images: (N, H, W, C).
        padding: how many values to add before and after H and W.
        value: the constant value.

    Returns:
        (N, H', W', C); the images themselves where `padding` adds nothing after any axis.
    """
    if not any(after for _, after in padding):
        return images
    return ops.pad(images, [(0, 0), *padding, (0, 0)], constant_values=value)


def padded_shape(shape: Shape, padding: Padding) -> Shape:
    """The shape of images (N, H, W, C) after `padded`.

    Args:
        shape: (N, H, W, C); None for a size that is not known yet.
        padding: how many values are added before and after H and W.
    """
    batch, *sides, channels = shape
    return batch, *(side and side + sum(pads) for side, pads in zip(sides, padding, strict=True)), channels
