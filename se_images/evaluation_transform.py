"""From decoded images to the input of a network: timm's evaluation transform in numpy, the same for every framework.

Source: timm 1.0.31, data/transforms_factory.py (`transforms_imagenet_eval`) and data/transforms.py; torchvision 0.29,
transforms/functional.py (`resize`, `center_crop`), whose presets are the mode "center".
"""

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from se_images.resize import FILTERS, resize
from se_weights import Preprocessing, UnsupportedFormat

Image = NDArray[np.uint8]


def preprocess(images: Iterable[Image], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Resize, crop and normalize images, bit for bit as timm does where a network is evaluated.

    Args:
        images: RGB images of shape (H, W, 3), in any sizes, with pixels from 0 to 255.
        preprocessing: That of the network, as `se_weights.read` returns it with a checkpoint.

    Returns:
        The input of the network, of shape (N, 3, size, size).

    Raises:
        ValueError: An image has another shape or dtype, or there is none.
    """
    cropped = [resize_and_crop(image, preprocessing) for image in images]
    if not cropped:
        raise ValueError("there are no images")
    return preprocessing.apply(np.stack(cropped).transpose(0, 3, 1, 2), maximum=255.0)


def resize_and_crop(image: Image, preprocessing: Preprocessing) -> Image:
    """What the network sees of an image, before its channels are normalized.

    Args:
        image: An RGB image of shape (H, W, 3), with pixels from 0 to 255.
        preprocessing: That of the network. Where it does not resize images (those of CIFAR), an image of another size
            is resized bilinearly.

    Returns:
        The pixels of shape (size, size, 3).

    Raises:
        ValueError: The image has another shape or dtype.
        se_weights.UnsupportedFormat: The network has another filter or mode of cropping.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"an image of {image.dtype} {image.shape} is not one of uint8 (height, width, 3)")
    height, width = resized_sides(image.shape[0], image.shape[1], preprocessing)
    interpolation = "bilinear" if preprocessing.interpolation == "none" else preprocessing.interpolation
    if interpolation not in FILTERS:
        raise UnsupportedFormat(f"images are resized by {' or '.join(FILTERS)} here, and not by {interpolation!r}")
    return _crop(resize(image, height, width, interpolation), preprocessing.size, _fill(preprocessing))


def resized_sides(height: int, width: int, preprocessing: Preprocessing) -> tuple[int, int]:
    """The height and width to which an image is resized, before its center is cropped.

    Args:
        height: The height of the image.
        width: Its width.
        preprocessing: That of the network.

    Raises:
        se_weights.UnsupportedFormat: The network has another mode of cropping.
    """
    if preprocessing.crop_mode not in CROP_MODES:
        raise UnsupportedFormat(f"crop mode {preprocessing.crop_mode!r} is not one of {', '.join(CROP_MODES)}")
    sides = CROP_MODES[preprocessing.crop_mode](height, width, math.floor(preprocessing.size / preprocessing.crop))
    return max(sides[0], 1), max(sides[1], 1)


def _short_side(height: int, width: int, side: int) -> tuple[int, int]:
    long = int(side * max(height, width) / min(height, width))
    return (side, long) if height <= width else (long, side)


def _both_sides(height: int, width: int, side: int) -> tuple[int, int]:
    return side, side


def _long_side(height: int, width: int, side: int) -> tuple[int, int]:
    ratio = max(height / side, width / side)
    return round(height / ratio), round(width / ratio)


CROP_MODES: Mapping[str, Callable[[int, int, int], tuple[int, int]]] = {
    "center": _short_side,
    "squash": _both_sides,
    "border": _long_side,
}
"""By timm's names, the sides of an image of which one, or both, become this many pixels."""


def _fill(preprocessing: Preprocessing) -> tuple[int, ...]:
    """The color around an image that is smaller than the input: the mean of the channels where borders are meant."""
    if preprocessing.crop_mode != "border":
        return (0, 0, 0)
    fill = tuple(round(255 * mean / preprocessing.maximum) for mean in preprocessing.mean)
    return fill[::-1] if preprocessing.channels == "BGR" else fill


def _crop(image: Image, size: int, fill: tuple[int, ...]) -> Image:
    """The central square of an image, which is padded where it is smaller."""
    missing = [max(size - side, 0) for side in image.shape[:2]]
    padded = np.empty((image.shape[0] + missing[0], image.shape[1] + missing[1], 3), np.uint8)
    padded[...] = fill
    top, left = (count // 2 for count in missing)
    padded[top : top + image.shape[0], left : left + image.shape[1]] = image
    top, left = (round((side - size) / 2) for side in padded.shape[:2])  # to even, as Python rounds
    return padded[top : top + size, left : left + size]
