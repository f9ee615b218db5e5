"""Convolution and pooling with margins that are written out; Keras's `same` is lopsided when it strides."""

from typing import Any

import keras
from keras import KerasTensor, ops

import se_spec

Shape = tuple[int | None, ...]
Margins = list[tuple[Any, Any]]
"""Before and after each spatial axis; whole numbers, or tensors where the size is not known yet."""


@keras.saving.register_keras_serializable("se_tf")
class Convolution(keras.layers.Conv2D):
    """A convolution of (N, H, W, C) with half its kernel of zeros on every side: at stride 1 that is `same`."""

    @property
    def margins(self) -> Margins:
        return [(0, 0) if self.padding == "same" else (side // 2, side // 2) for side in self.kernel_size]

    def call(self, inputs: KerasTensor) -> KerasTensor:
        return super().call(padded(inputs, self.margins, 0.0))

    def convolution_op(self, inputs: KerasTensor, kernel: KerasTensor) -> KerasTensor:
        """Narrow groups are computed together: TensorFlow leaves them to XLA, which is slow at them on a CPU."""
        together = se_spec.groups_as_one(kernel.shape[2], self.groups)
        return super().convolution_op(inputs, widened(kernel, self.groups, together))

    def compute_output_shape(self, shape: Shape) -> Shape:
        return super().compute_output_shape(padded_shape(shape, self.margins))


@keras.saving.register_keras_serializable("se_tf")
class MaxPool(keras.layers.MaxPooling2D):
    """A max-pool of (N, H, W, C) that begins and ends where its `alignment` says, in margins of minus infinity."""

    def __init__(self, alignment: str, **kwargs: Any) -> None:
        self.pool = se_spec.MaxPool(alignment)
        super().__init__(self.pool.kernel, self.pool.stride, data_format="channels_last", **kwargs)

    def call(self, inputs: KerasTensor) -> KerasTensor:
        return super().call(padded(inputs, self.margins(ops.shape(inputs)), float("-inf")))

    def compute_output_shape(self, shape: Shape) -> Shape:
        batch, *sides, channels = shape
        return batch, *(side and self.pool.side(side) for side in sides), channels

    def margins(self, shape: Any) -> Margins:
        return [self.pool.margins(side) for side in shape[1:3]]

    def get_config(self) -> dict[str, Any]:
        config = keras.layers.Layer.get_config(self)
        return {**config, "alignment": self.pool.alignment}


def widened(kernel: KerasTensor, groups: int, together: int) -> KerasTensor:
    """A kernel (H, W, I, O) of groups, as one whose groups are `together` times as wide, with zeros between them."""
    if together == 1:
        return kernel
    height, width, inputs, outputs = kernel.shape
    apart = ops.reshape(kernel, (height, width, inputs, groups // together, together, outputs // groups))
    blocks = ops.einsum("hwigmo,nm->hwnigmo", apart, ops.eye(together, dtype=kernel.dtype))
    return ops.reshape(blocks, (height, width, together * inputs, outputs))


def padded(images: KerasTensor, margins: Margins, value: float) -> KerasTensor:
    if not any(after for _, after in margins):
        return images
    return ops.pad(images, [(0, 0), *margins, (0, 0)], constant_values=value)


def padded_shape(shape: Shape, margins: Margins) -> Shape:
    batch, *sides, channels = shape
    return batch, *(side and side + sum(margin) for side, margin in zip(sides, margins, strict=True)), channels
