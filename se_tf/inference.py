"""Models for inference: batch norms folded, compiled, in Keras 3."""

from collections.abc import Callable
from typing import Any

import keras
from keras import KerasTensor

import se_weights
from se_tf.se_resnet import SEResNet
from se_tf.weights import load_weights, read_weights


def fold_batchnorm(model: SEResNet, *, dtype: Any = None) -> SEResNet:
    """A copy for inference whose batch norms are folded into its convolutions; it computes the same function.

    Args:
        model: the model to fold; it is not changed.
        dtype: dtype policy of the copy; the model's own by default.

    Raises:
        se_weights.WeightMismatch: with every fault, where a norm cannot be folded or a folded value is not finite.
    """
    checkpoint = se_weights.Checkpoint(model.architecture, read_weights(model))
    checkpoint = se_weights.fold_batchnorm(checkpoint)
    folded = SEResNet(checkpoint.architecture, dtype=dtype or model.dtype_policy)
    load_weights(folded, checkpoint.weights)
    return folded


def optimize_for_inference(model: SEResNet, *, dtype: Any = None) -> Callable[[KerasTensor], KerasTensor]:
    """A function from images to logits, for deployment: a folded copy of the model, compiled.

    It compiles at its first call for each shape of images.

    Args:
        model: the model to deploy; it is not changed.
        dtype: dtype of the computation, such as "bfloat16"; the model's own by default. Images and logits keep the
            dtype that the images have.
    """
    folded = fold_batchnorm(model, dtype=dtype)
    folded.compile(jit_compile=False)

    def run(images: KerasTensor) -> KerasTensor:
        logits = folded.predict_on_batch(keras.ops.cast(images, folded.input_dtype))
        return keras.ops.cast(logits, images.dtype)

    return run
