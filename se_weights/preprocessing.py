"""The preprocessing of images and the order of the classes that published weights were trained with."""

import json
import math
import re
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

STANDARD_CLASSES = "standard"
"""The ILSVRC 2012 classes in the order of their WordNet ids, as in torchvision, timm and Keras."""

CAFFE_CLASSES = "caffe"
"""The ILSVRC 2012 classes in the order of the authors' Caffe release (hujie-frank/SENet)."""


LARGEST_SIZE = 4096
SMALLEST_CROP = 0.05
"""Limits of what a file may ask for: an image is resized to `size` / `crop` pixels."""

WORD = re.compile(r"[a-z][a-z_]{0,30}", re.ASCII)


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the input of a network, and how the network orders its classes.

    Attributes:
        channels: The order of the color channels, "RGB" or "BGR".
        maximum: The value of a white pixel before normalization: 1.0 or 255.0.
        mean: What is subtracted from each channel, in the order of `channels`.
        std: What each channel is then divided by, in the order of `channels`.
        size: Height and width of the input in pixels.
        interpolation: The filter for resizing: "bilinear", "bicubic", or "none" for images that are not resized.
        crop: The fraction of the resized image that is cropped to: of the side of `size` / `crop` pixels, the central
            `size` pixels.
        classes: The order of the classes: `STANDARD_CLASSES`, `CAFFE_CLASSES`, or a description.
        crop_mode: The side that is resized to `size` / `crop`: "center", the short one; "squash", both; "border", the
            long one, with a border around the image.
    """

    channels: str
    maximum: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    size: int
    interpolation: str
    crop: float
    classes: str
    crop_mode: str = "center"

    def __post_init__(self) -> None:
        """Files and configs say these values, so none may be one that images cannot have."""
        valid = {
            "channels": self.channels in ("RGB", "BGR"),
            "maximum": 0 < self.maximum < math.inf,
            "mean": len(self.mean) == 3 and all(map(math.isfinite, self.mean)),
            "std": len(self.std) == 3 and all(0 < value < math.inf for value in self.std),
            "size": isinstance(self.size, int) and 0 < self.size <= LARGEST_SIZE,
            "interpolation": WORD.fullmatch(self.interpolation),
            "crop": SMALLEST_CROP <= self.crop <= 1,
            "classes": len(self.classes) <= 100 and self.classes.isprintable(),
            "crop_mode": WORD.fullmatch(self.crop_mode),
        }
        for name, holds in valid.items():
            if not holds:
                raise ValueError(f"{name} cannot be {getattr(self, name)!r}")

    def apply(self, pixels: NDArray, maximum: float) -> NDArray[np.float32]:
        """Reorder and normalize the channels of images, without resizing them.

        The arithmetic is float32, in the order of torchvision's `ToTensor` and `Normalize`, and so bit-equal to theirs.

        Args:
            pixels: RGB images of shape (N, 3, H, W).
            maximum: The value of a white pixel in `pixels`.

        Returns:
            The input of the network, of shape (N, 3, H, W).
        """
        ordered = pixels[:, ::-1] if self.channels == "BGR" else pixels
        scaled = ordered.astype(np.float32) * np.float32(self.maximum) / np.float32(maximum)
        mean, std = (np.array(values, np.float32)[:, None, None] for values in (self.mean, self.std))
        return (scaled - mean) / std

    @property
    def text(self) -> str:
        """The JSON that is stored in the metadata of a file."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Parse the JSON that `text` returns. Raises ValueError, TypeError or KeyError if it is invalid."""
        fields: Any = json.loads(text)
        return cls(**{**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"])})


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

IMAGENET = Preprocessing("RGB", 1.0, IMAGENET_MEAN, IMAGENET_STD, 224, "bilinear", 0.875, STANDARD_CLASSES)
"""That of torchvision, Cadene, senet.pytorch, pytorchcv and qubvel."""

CAFFE = Preprocessing("BGR", 255.0, (104.0, 117.0, 123.0), (1.0, 1.0, 1.0), 224, "bilinear", 0.875, CAFFE_CLASSES)
"""That of the authors' Caffe release (hujie-frank/SENet, issues 5 and 53)."""

MMPRETRAIN = Preprocessing(
    "RGB", 255.0, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), 224, "bilinear", 0.875, STANDARD_CLASSES
)

RAW = Preprocessing("RGB", 255.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 224, "bilinear", 0.875, STANDARD_CLASSES)
"""That of networks with a norm of the images, such as qubvel's SE-ResNet-18."""

VGGFACE2 = Preprocessing(
    "BGR", 255.0, (91.4953, 103.8827, 131.0912), (1.0, 1.0, 1.0), 224, "bilinear", 0.875, "VGGFace2 identities"
)

CIFAR = Preprocessing(
    "RGB", 1.0, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), 32, "none", 1.0, "as CIFAR numbers them"
)
"""That of pytorchcv for CIFAR-10, CIFAR-100 and SVHN."""

KNOWN = {"imagenet": IMAGENET, "caffe": CAFFE, "vggface2": VGGFACE2, "cifar": CIFAR}
"""The candidates of `se-resnet identify`, by name. MMPRETRAIN gives the same inputs as IMAGENET."""
