"""From image files to the input of a network, and from its logits to labels; the same arrays for every framework."""

from se_images.decode import UnreadableImage, read_image
from se_images.evaluation_transform import preprocess, resize_and_crop, resized_sides
from se_images.labels import Label, labels
from se_images.predictions import Prediction, predict, top_predictions
from se_images.resize import resize

__all__ = [
    "Label",
    "Prediction",
    "UnreadableImage",
    "labels",
    "predict",
    "preprocess",
    "read_image",
    "resize",
    "resize_and_crop",
    "resized_sides",
    "top_predictions",
]
