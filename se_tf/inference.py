"""Models for inference: batch norms folded, compiled, in Keras 3."""

from typing import Any

import keras
from keras import KerasTensor

import se_weights
from se_spec import Architecture
from se_tf.families import new_model
from se_tf.network import Network
from se_tf.se_densenet import SEDenseNet
from se_tf.se_resnet import SEResNet
from se_tf.weights import checkpoint_of, load_weights, read_weights


def fold_batchnorm(model: Network, *, dtype: Any = None) -> Network:
    """A copy for inference whose batch norms are folded into its convolutions; it computes the same function.

    Args:
        model: the model to fold; it is not changed.
        dtype: dtype policy of the copy; the model's own by default.

    Raises:
        se_weights.WeightMismatch: with every fault, where a norm cannot be folded or a folded value is not finite.
    """
    checkpoint = se_weights.fold_batchnorm(checkpoint_of(model))
    folded = new_model(checkpoint.architecture, dtype=dtype or model.dtype_policy)
    load_weights(folded, checkpoint.weights)
    folded.preprocessing = checkpoint.preprocessing
    return folded


class InferenceNetwork(Network):
    """A network for deployment: compiled, and taking images of any floating-point dtype.

    It compiles at its first call for each shape of images. Logits have the dtype of the images.

    Args:
        architecture: the configuration of the network, whose batch norms are folded.
        **options: `dtype` and `name`, as the networks take them.
    """

    def __init__(self, architecture: Architecture, **options: Any) -> None:
        super().__init__(architecture, **options)
        self.compile(optimizer=None, jit_compile=False)

    def __call__(self, images: KerasTensor, *args: Any, **kwargs: Any) -> KerasTensor:
        if args or kwargs or not hasattr(images, "numpy"):  # called by Keras, or made a part of another model
            return super().__call__(images, *args, **kwargs)
        self.expect(images)
        logits = self.predict_on_batch(keras.ops.cast(images, self.input_dtype))
        return keras.ops.cast(logits, images.dtype)

    def get_compile_config(self) -> dict[str, Any]:
        """Nothing to be restored from a file: the constructor compiles the model."""
        return {}


@keras.saving.register_keras_serializable("se_tf")
class InferenceSEResNet(InferenceNetwork, SEResNet):
    """An SE-ResNet for deployment."""


@keras.saving.register_keras_serializable("se_tf")
class InferenceSEDenseNet(InferenceNetwork, SEDenseNet):
    """An SE-DenseNet for deployment."""


DEPLOYED: dict[str, type[InferenceNetwork]] = {"se_resnet": InferenceSEResNet, "se_densenet": InferenceSEDenseNet}
"""The class of each family's networks for deployment."""


def optimize_for_inference(model: Network, *, dtype: Any = None) -> Network:
    """A copy of the model for deployment: folded and compiled.

    Args:
        model: the model to deploy; it is not changed.
        dtype: dtype of the computation, such as "bfloat16"; the model's own by default.

    Returns:
        A network of the class in DEPLOYED.

    Raises:
        se_weights.WeightMismatch: with every fault, where a norm cannot be folded or a folded value is not finite.
    """
    folded = fold_batchnorm(model, dtype=dtype)
    deployed = DEPLOYED[folded.architecture.family](folded.architecture, dtype=folded.dtype_policy)
    load_weights(deployed, read_weights(folded))
    deployed.preprocessing = folded.preprocessing
    return deployed
