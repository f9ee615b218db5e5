"""The Squeeze-and-Excitation layer (arXiv 1709.01507, section 3), in Keras 3."""

from typing import Any

import keras
from keras import KerasTensor, ops

from se_spec import (
    EfficientChannelAttention,
    SqueezeExcitation,
    expect_features,
    expect_floating,
    squeezed_channels,
)
from se_tf.eca_layer import ECALayer
from se_tf.layers import dense, identity


@keras.saving.register_keras_serializable("se_tf")
class SELayer(keras.layers.Layer):
    """Scales every channel by a gate that is computed from the whole input (paper, eq. 2-4).

    Takes (N, spatial..., C) with one or more spatial axes, and returns the same shape.

    Args:
        channels: number of channels C.
        reduction: reduction ratio r of the paper: the squeezed width is C // r.
        bias: whether the two fully connected layers have biases; the paper's have none.
        squeezed: the squeezed width itself, where it does not follow from a reduction ratio.
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.

    Raises:
        ValueError: when called with another rank or channel count.
        TypeError: when called with values that are not floating-point.
    """

    def __init__(
        self, channels: int, reduction: int = 16, bias: bool = False, *, squeezed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.channels = channels
        self.squeezed = squeezed_channels(channels, reduction) if squeezed is None else squeezed
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


def squeeze_excitation(se: SqueezeExcitation | EfficientChannelAttention | None, **kwargs: Any) -> keras.layers.Layer:
    """The SE or ECA layer of these sizes; the identity where there is none.

    Args:
        se: the sizes; None for the identity.
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.
    """
    if isinstance(se, EfficientChannelAttention):
        return ECALayer(se.channels, se.kernel, **kwargs)
    return SELayer(se.channels, bias=se.bias, squeezed=se.squeezed, **kwargs) if se else identity(**kwargs)
