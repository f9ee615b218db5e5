"""The layer of ECA-Net (arXiv 1910.03151), which takes the place of an SE layer, in Keras 3."""

from typing import Any

import keras
from keras import KerasTensor, ops

from se_spec import eca_kernel, expect_features, expect_floating
from se_tf.layers import ChannelConvolution


@keras.saving.register_keras_serializable("se_tf")
class ECALayer(keras.layers.Layer):
    """Scales every channel by a gate that is computed from the means of its neighbours (ECA-Net, eq. 9).

    Takes (N, spatial..., C) with one or more spatial axes, and returns the same shape.

    Args:
        channels: number of channels C.
        kernel: number of neighbouring channels that a gate is computed from; by default it follows from C (eq. 12).
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.

    Raises:
        ValueError: when called with another rank or channel count.
        TypeError: when called with values that are not floating-point.
    """

    def __init__(self, channels: int, kernel: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels = channels
        self.kernel = eca_kernel(channels) if kernel is None else kernel
        self.conv = ChannelConvolution(self.kernel, name="conv", dtype=self.dtype_policy)

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.conv.build((None, self.channels))

    def call(self, x: KerasTensor) -> KerasTensor:
        """Scale, as an SE layer does."""
        expect_features(x.shape, -1, self.channels)
        expect_floating("ECALayer", keras.backend.is_float_dtype(x.dtype), x.dtype)
        gate = self.gate(x)
        return x * ops.expand_dims(gate, tuple(range(1, len(x.shape) - 1)))

    def gate(self, x: KerasTensor) -> KerasTensor:
        """Squeeze, and convolve over the channels (ECA-Net, eq. 9): the gates (N, C), between 0 and 1."""
        squeezed = ops.mean(x, axis=tuple(range(1, len(x.shape) - 1)))
        return ops.sigmoid(self.conv(squeezed))

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "channels": self.channels, "kernel": self.kernel}
