"""From images to labels: the classes of an image with the highest probabilities."""

from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from se_images.decode import read_image
from se_images.evaluation_transform import preprocess
from se_images.labels import Label, labels
from se_weights import Preprocessing


class Model(Protocol):
    """A network of se_torch, se_tf or se_flax."""

    preprocessing: Preprocessing | None

    def predict_logits(self, images: NDArray) -> NDArray:
        """The logits of images (N, C, H, W), in evaluation mode."""


@dataclass(frozen=True)
class Prediction:
    """A class and its probability for an image.

    Attributes:
        label: The class.
        probability: The softmax of the logits at this class.
    """

    label: Label
    probability: float


def top_predictions(logits: ArrayLike, preprocessing: Preprocessing | None, top: int = 5) -> list[list[Prediction]]:
    """The most probable classes of each image.

    Args:
        logits: The output of a network, of shape (N, classes).
        preprocessing: That of the network, which names the order of its classes.
        top: How many classes to return for each image, at most.

    Returns:
        For each image, its predictions in the order of their probability. The softmax is computed in float64.

    Raises:
        ValueError: The logits have another rank, or `top` is below 1.
    """
    values = np.asarray(logits, np.float64)
    if values.ndim != 2 or top < 1:
        raise ValueError(f"logits of shape {values.shape} are not (images, classes), or top={top} is below 1")
    exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    classes = labels(values.shape[1], preprocessing)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    return [
        [Prediction(classes[index], float(row[index])) for index in best]
        for row, best in zip(probabilities, order.tolist(), strict=True)
    ]


def predict(
    model: Model,
    images: Iterable[str | PathLike[str] | NDArray[np.uint8]],
    *,
    preprocessing: Preprocessing | None = None,
    top: int = 5,
) -> list[list[Prediction]]:
    """The most probable classes of images, from the same pixels in every framework.

    Args:
        model: A network of se_torch, se_tf or se_flax.
        images: Image files, or decoded RGB images of shape (H, W, 3) with pixels from 0 to 255.
        preprocessing: That of the network, where the model does not have it from its file.
        top: How many classes to return for each image, at most.

    Returns:
        For each image, its predictions in the order of their probability.

    Raises:
        ValueError: The preprocessing is not known, or an image has another shape or dtype.
        UnreadableImage: A file is not an image.
    """
    known = preprocessing or model.preprocessing
    if known is None:
        raise ValueError(
            "the preprocessing of the network is not known: pass preprocessing=, such as "
            "se_weights.preprocessing.IMAGENET"
        )
    pixels = [image if isinstance(image, np.ndarray) else read_image(image) for image in images]
    return top_predictions(model.predict_logits(preprocess(pixels, known)), known, top)
