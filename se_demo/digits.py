"""The handwritten digits of scikit-learn: 1,797 images of 8x8 pixels with 17 grey levels (UCI; Alpaydin, Kaynak)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TEST_SHARE = 0.25
"""Share of the images that are used for testing only, the same for every class."""


@dataclass(frozen=True)
class Digits:
    """A set of digits.

    Attributes:
        images: (N, 1, 8, 8), normalised with the mean and standard deviation of the training images.
        labels: (N,), from 0 to 9.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]


def load_digits() -> tuple[Digits, Digits]:
    """Load the training and the test images; the split is the same every time."""
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    pixels, labels = datasets.load_digits(return_X_y=True)
    split = train_test_split(pixels, labels, test_size=TEST_SHARE, stratify=labels, random_state=0)
    train_pixels, test_pixels, train_labels, test_labels = split
    mean, std = train_pixels.mean(), train_pixels.std()

    def normalise(pixels: NDArray, labels: NDArray) -> Digits:
        images = ((pixels - mean) / std).astype(np.float32).reshape(-1, 1, 8, 8)
        return Digits(images, labels.astype(np.int64))

    return normalise(train_pixels, train_labels), normalise(test_pixels, test_labels)
