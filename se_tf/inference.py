"""The forms in which a model is deployed, in Keras 3."""

from collections.abc import Callable
from typing import Any

import keras
from keras import KerasTensor

import se_weights
from se_tf.se_resnet import SEResNet
from se_tf.weights import load_weights, read_weights


def fold_batchnorm(model: SEResNet, *, dtype: Any = None) -> SEResNet:
    """A copy for inference whose norms are folded into its convolutions; the same function of images."""
    checkpoint = se_weights.Checkpoint(model.architecture, read_weights(model))
    checkpoint = se_weights.fold_batchnorm(checkpoint)
    folded = SEResNet(checkpoint.architecture, dtype=dtype or model.dtype_policy)
    load_weights(folded, checkpoint.weights)
    return folded


def optimize_for_inference(model: SEResNet, *, dtype: Any = None) -> Callable[[KerasTensor], KerasTensor]:
    """Images to logits, by a copy of the model that is folded and compiled: at its first call for a shape of images.

    Computes in `dtype`, such as "bfloat16", where it is given; images and logits keep the type that images have.
    """
    folded = fold_batchnorm(model, dtype=dtype)
    folded.compile(jit_compile=False)

    def run(images: KerasTensor) -> KerasTensor:
        logits = folded.predict_on_batch(keras.ops.cast(images, folded.input_dtype))
        return keras.ops.cast(logits, images.dtype)

    return run
