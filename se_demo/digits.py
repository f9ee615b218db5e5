"""scikit-learn's handwritten digits: 1,797 real scans of 8x8 pixels in 17 grey levels (UCI ML, Alpaydin and Kaynak)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HELD_OUT = 0.25
"""Share of the scans that training never sees, drawn alike from every class."""


@dataclass(frozen=True)
class Digits:
    """Images (N, 1, 8, 8), normalised by the training images' mean and deviation, and their labels (N,)."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]


def load_digits() -> tuple[Digits, Digits]:
    """The training and the test scans; the split is the same every time."""
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    scans, labels = datasets.load_digits(return_X_y=True)
    split = train_test_split(scans, labels, test_size=HELD_OUT, stratify=labels, random_state=0)
    train_scans, test_scans, train_labels, test_labels = split
    mean, deviation = train_scans.mean(), train_scans.std()

    def normalised(scans: NDArray, labels: NDArray) -> Digits:
        images = ((scans - mean) / deviation).astype(np.float32).reshape(-1, 1, 8, 8)
        return Digits(images, labels.astype(np.int64))

    return normalised(train_scans, train_labels), normalised(test_scans, test_labels)
