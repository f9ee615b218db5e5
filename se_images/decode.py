"""Reads image files with Pillow, whose pixels the published networks were trained on."""

import warnings
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from se_weights.errors import MalformedFile, MissingExtra


class UnreadableImage(MalformedFile):
    """The file is no image, is cut short, or has more pixels than Pillow reads safely."""

    id = "image.unreadable"


def read_image(path: str | PathLike[str]) -> NDArray[np.uint8]:
    """Decode an image file, as torchvision's and timm's data sets do.

    Args:
        path: A file in any format that Pillow reads, such as JPEG or PNG. Of a file with several frames, the first one
            is read. The orientation in a photo's EXIF is not applied, since those data sets do not apply it.

    Returns:
        The RGB image of shape (H, W, 3), with pixels from 0 to 255. Transparent pixels keep their colors.

    Raises:
        se_weights.MissingExtra: Pillow is not installed.
        UnreadableImage: The file is no image, is cut short, or has more pixels than Pillow reads safely.
        OSError: The file cannot be opened.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ModuleNotFoundError as error:
        raise MissingExtra("images are decoded by Pillow", "images") from error
    with Path(path).open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(file) as image:
                return np.asarray(image.convert("RGB"))
        except UnidentifiedImageError as error:
            raise UnreadableImage(
                f"{path} is not an image in a format that Pillow reads: pass a JPEG or PNG"
            ) from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise UnreadableImage(f"{path}: {error} Make the image smaller first") from error
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise UnreadableImage(f"{path} is damaged ({error}): copy or download it again") from error
