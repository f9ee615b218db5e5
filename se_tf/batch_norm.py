"""Batch normalisation that keeps the running variance as torch keeps it."""

import keras
from keras import KerasTensor, ops


@keras.saving.register_keras_serializable("se_tf")
class BatchNorm(keras.layers.BatchNormalization):
    """Keras's BatchNormalization over the last axis, with the unbiased variance in its running statistics.

    Keras averages the biased variance of a batch. torch normalises with that too, but averages N / (N - 1) times it,
    where N counts the values of a channel. What Keras has just averaged in is scaled by that factor here.
    """

    def call(self, inputs: KerasTensor, training: bool | None = None, mask: KerasTensor | None = None) -> KerasTensor:
        if not (training and self.trainable):
            return super().call(inputs, training=False, mask=mask)
        kept = ops.convert_to_tensor(self.moving_variance) * self.momentum
        outputs = super().call(inputs, training=True, mask=mask)
        averaged_in = self.moving_variance - kept
        count = ops.cast(ops.prod(ops.shape(inputs)[:-1]), self.moving_variance.dtype)
        self.moving_variance.assign(kept + averaged_in * (count / ops.maximum(count - 1, 1)))
        return outputs
