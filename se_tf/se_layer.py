"""The Squeeze-and-Excitation layer (arXiv 1709.01507, section 3), in Keras 3."""

from typing import Any

import keras
from keras import KerasTensor, ops

from se_spec import expect_features, expect_floating, squeezed_channels


@keras.saving.register_keras_serializable("se_tf")
class SELayer(keras.layers.Layer):
    """Scales every channel by a gate that is computed from the whole input (paper, eq. 2-4).

    Takes (N, spatial..., C) with one or more spatial axes, and returns the same shape. The squeezed width is
    `channels // reduction` unless `squeezed` says otherwise; the paper's layers have no biases.
    Raises ValueError for another rank or channel count, and TypeError for values that are not floating-point.
    """

    def __init__(
        self, channels: int, reduction: int = 16, bias: bool = False, *, squeezed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.channels = channels
        self.squeezed = squeezed or squeezed_channels(channels, reduction)
        self.bias = bias
        self.fc1 = dense(channels, self.squeezed, bias, name="fc1", dtype=self.dtype_policy)
        self.fc2 = dense(self.squeezed, channels, bias, name="fc2", dtype=self.dtype_policy)

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.fc1.build((None, self.channels))
        self.fc2.build((None, self.squeezed))

    def call(self, x: KerasTensor) -> KerasTensor:
        """Scale (paper, eq. 4)."""
        expect_features(x.shape, -1, self.channels)
        expect_floating("SELayer", keras.backend.is_float_dtype(x.dtype), x.dtype)
        gate = self.gate(x)
        return x * ops.expand_dims(gate, tuple(range(1, len(x.shape) - 1)))

    def gate(self, x: KerasTensor) -> KerasTensor:
        """Squeeze and excitation (paper, eq. 2 and 3): the gates (N, C), between 0 and 1."""
        squeezed = ops.mean(x, axis=tuple(range(1, len(x.shape) - 1)))
        return ops.sigmoid(self.fc2(ops.relu(self.fc1(squeezed))))

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return shape

    def get_config(self) -> dict[str, Any]:
        own = {"channels": self.channels, "squeezed": self.squeezed, "bias": self.bias}
        return {**super().get_config(), **own}


def dense(inputs: int, outputs: int, bias: bool, **kwargs: Any) -> keras.layers.Dense:
    """A fully connected layer; weights begin uniform within 1 / sqrt(inputs), as torch has it, biases at zero."""
    uniform = keras.initializers.VarianceScaling(1 / 3, mode="fan_in", distribution="uniform")
    return keras.layers.Dense(outputs, use_bias=bias, kernel_initializer=uniform, **kwargs)
