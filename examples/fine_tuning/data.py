"""The digits of scikit-learn as RGB images, for the three examples."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from se_images import preprocess, resize
from se_weights.preprocessing import CIFAR

SIZE = 16
"""Pixels of a side; the digits have 8."""

Split = tuple[NDArray, NDArray, NDArray, NDArray]


def digits(layout: str) -> Split:
    """Training images, test images, training labels and test labels.

    Args:
        layout: "NCHW" or "NHWC", the axes of the images.
    """
    pixels, labels = load_digits(return_X_y=True)
    grey = np.rint(pixels.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    images = preprocess(
        [resize(np.repeat(image, 3, axis=2), SIZE, SIZE, "bilinear") for image in grey], replace(CIFAR, size=SIZE)
    )
    ordered = images if layout == "NCHW" else images.transpose(0, 2, 3, 1)
    return tuple(train_test_split(ordered, labels, test_size=0.25, stratify=labels, random_state=0))
