"""The base of the layers in Keras that consist of others: blocks, dense layers and transitions."""

import keras
from keras import KerasTensor

Shape = tuple[int | None, ...]


class Part(keras.layers.Layer):
    """A layer whose weights and output shape follow from calling its inner layers on symbolic tensors.

    Args:
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.
    """

    def build(self, shape: Shape | list[Shape]) -> None:
        """Builds the inner layers, so that weights can be loaded before any call."""
        dtype = self.compute_dtype
        if isinstance(shape[0], list | tuple):
            self.call([KerasTensor(each, dtype=dtype) for each in shape])
        else:
            self.call(KerasTensor(shape, dtype=dtype))

    def compute_output_spec(self, inputs: KerasTensor | list[KerasTensor], training: bool | None = None) -> KerasTensor:
        """The symbolic output. Keras would trace the framework's operations, twice the time for a new network."""
        output = self.call(inputs)
        return KerasTensor(output.shape, dtype=output.dtype)  # a new one: a block of no layers returns its input
