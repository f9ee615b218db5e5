"""Convolution and pooling padded alike on both sides; Keras's `same` is lopsided when it strides."""

from collections.abc import Sequence

import keras
from keras import KerasTensor, ops

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable("se_tf")
class Convolution(keras.layers.Conv2D):
    """A convolution of (N, H, W, C) with half its kernel of zeros on every side."""

    def call(self, inputs: KerasTensor) -> KerasTensor:
        return super().call(padded(inputs, self.kernel_size, 0.0))

    def compute_output_shape(self, shape: Shape) -> Shape:
        return super().compute_output_shape(padded_shape(shape, self.kernel_size))


@keras.saving.register_keras_serializable("se_tf")
class MaxPool(keras.layers.MaxPooling2D):
    """A max-pool of (N, H, W, C) with half its window of minus infinity on every side."""

    def call(self, inputs: KerasTensor) -> KerasTensor:
        return super().call(padded(inputs, self.pool_size, float("-inf")))

    def compute_output_shape(self, shape: Shape) -> Shape:
        return super().compute_output_shape(padded_shape(shape, self.pool_size))


def padded(images: KerasTensor, kernel: Sequence[int], value: float) -> KerasTensor:
    margins = [side // 2 for side in kernel]
    if not any(margins):
        return images
    return ops.pad(images, [(0, 0), *((margin, margin) for margin in margins), (0, 0)], constant_values=value)


def padded_shape(shape: Shape, kernel: Sequence[int]) -> Shape:
    batch, *sides, channels = shape
    return batch, *(side and side + 2 * (width // 2) for side, width in zip(sides, kernel, strict=True)), channels
