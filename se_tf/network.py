"""Network: what the networks of all families share in Keras 3."""

import json
from typing import Any, Self

import keras
import numpy as np
from keras import KerasTensor
from numpy.typing import NDArray

from se_spec import Architecture, expect_floating, expect_images
from se_tf.layers import dense, identity


class Network(keras.Model):
    """A network as its architecture describes it: images (N, H, W, C) to logits (N, num_classes).

    A functional model, whose layers a family's class creates; its last layer is the classifier, and a layer "pool"
    averages the features over space.

    Args:
        architecture: the configuration of the network.
        images: the input of the model.
        logits: its output.
        dtype: dtype policy of all layers.
        name: name of the model; the architecture's by default.

    Raises:
        ValueError: when called with images of another rank or channel count.
        TypeError: when called with images that are not floating-point.
    """

    preprocessing: Any = None
    """The se_weights.Preprocessing of its images, where it is known from the file of its weights."""

    def __init__(
        self, architecture: Architecture, images: KerasTensor, logits: KerasTensor, *, dtype: Any, name: str | None
    ) -> None:
        super().__init__(images, logits, name=name or architecture.name)
        self.config = architecture
        self.dtype_policy = dtype

    @property
    def architecture(self) -> Architecture:
        """The configuration of the network, whose graph is fixed."""
        return self.config

    def reset_classifier(self, num_classes: int) -> Self:
        """Start a new classifier; the other weights stay.

        Args:
            num_classes: the number of classes; 0 for a network that returns its pooled features.

        Returns:
            A new model with copies of the weights, since the graph of a Keras model is fixed.
        """
        config = {**self.get_config(), "architecture": self.config.replace(num_classes=num_classes).to_dict()}
        model = self.from_config(config)
        for layer in self.layers:
            if layer is not self.layers[-1]:
                model.get_layer(layer.name).set_weights(layer.get_weights())
        model.preprocessing = self.preprocessing
        return model

    def __call__(self, images: KerasTensor, *args: Any, **kwargs: Any) -> KerasTensor:
        self.expect(images)
        return super().__call__(images, *args, **kwargs)

    def forward_features(self, images: KerasTensor) -> KerasTensor:
        """The features (N, H, W, C) after the last stage, which the head averages over space."""
        return keras.Model(self.inputs[0], self.get_layer("pool").input)(images)

    def predict_logits(self, images: NDArray) -> NDArray:
        """The logits of images as arrays of numpy, in evaluation mode.

        Args:
            images: the images, (N, C, H, W), preprocessed.

        Returns:
            The logits, (N, num_classes), in float32.
        """
        logits = self(images.transpose(0, 2, 3, 1), training=False)
        return keras.ops.convert_to_numpy(logits).astype(np.float32)

    def expect(self, images: KerasTensor) -> None:
        """Raise ValueError or TypeError unless these are images that the network can take."""
        expect_images(images.shape, "NHWC", self.config.in_channels, self.config.smallest_side)
        expect_floating("the network", keras.backend.is_float_dtype(images.dtype), images.dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            "architecture": self.architecture.to_dict(),
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "name": self.name,
        }

    def load_weights(self, filepath: Any, skip_mismatch: bool = False, **options: Any) -> None:
        """As in Keras; the error for a file of another network names the function that reads more files."""
        try:
            super().load_weights(filepath, skip_mismatch=skip_mismatch, **options)
        except (ValueError, OSError) as error:
            raise ValueError(f"{error}\nse_tf.from_file(path) reads the files of other code bases.") from error

    def save_own_variables(self, store: Any) -> None:
        """Save the architecture, of which tensors do not show everything, next to the variables, as bytes of JSON."""
        super().save_own_variables(store)
        store["architecture"] = np.frombuffer(json.dumps(self.architecture.to_dict()).encode(), np.uint8)

    def load_own_variables(self, store: Any) -> None:
        """Load nothing: the variables are those of the layers, and the architecture stays that of this model."""

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        return cls(**{**config, "architecture": Architecture.from_dict(config["architecture"])})


def classifier(architecture: Architecture, **kwargs: Any) -> keras.layers.Layer:
    """The fully connected layer that gives the logits; the identity where the network has no classes.

    Args:
        architecture: the configuration of the network.
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.
    """
    if not architecture.num_classes:
        return identity(**kwargs)
    return dense(architecture.features, architecture.num_classes, bias=True, **kwargs)
