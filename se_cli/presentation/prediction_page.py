"""The page of `se-resnet predict --report`: what the network sees of each image, and its classes by framework."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from se_images import Prediction, resize, resize_and_crop, resized_sides
from se_parity.report.rendering import render_page
from se_weights import Checkpoint
from se_weights.preprocessing import Preprocessing

SHOWN = 480
"""Pixels of the longer side of an image on the page."""


def prediction_page(
    subject: str,
    checkpoint: Checkpoint,
    images: Mapping[str, NDArray[np.uint8]],
    found: Mapping[str, Sequence[Sequence[Prediction]]],
) -> str:
    """The HTML of the page, with its pictures inside.

    Args:
        subject: What the user named the weights.
        checkpoint: The weights, whose preprocessing is known.
        images: The decoded images by path.
        found: The predictions for each image, by framework.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    preprocessing = checkpoint.preprocessing
    assert preprocessing
    return render_page(
        "se_cli.presentation",
        "prediction_page.html.j2",
        subject=subject,
        architecture=checkpoint.architecture.name,
        preprocessing=preprocessing,
        images=[
            {
                "path": path,
                "shape": f"{pixels.shape[1]} x {pixels.shape[0]}",
                "picture": _data_address(_shrunk(pixels)),
                "seen": _seen_part(pixels, preprocessing),
                "input": _data_address(resize_and_crop(pixels, preprocessing)),
                "labels": list(dict.fromkeys(each.label for of_image in found.values() for each in of_image[number])),
            }
            for number, (path, pixels) in enumerate(images.items())
        ],
        probabilities={
            framework: [{each.label: each.probability for each in of_image} for of_image in predictions]
            for framework, predictions in found.items()
        },
    )


def _seen_part(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> dict[str, float]:
    """The part of an image that is in the input of the network, in percent of its sides."""
    sides = resized_sides(pixels.shape[0], pixels.shape[1], preprocessing)
    height, width = (min(100.0, 100 * preprocessing.size / side) for side in sides)
    return {"left": (100 - width) / 2, "top": (100 - height) / 2, "width": width, "height": height}


def _shrunk(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    share = min(1.0, SHOWN / max(pixels.shape[:2]))
    height, width = (max(1, round(side * share)) for side in pixels.shape[:2])
    return resize(pixels, height, width, "bilinear")


def _data_address(pixels: NDArray[np.uint8]) -> str:
    """An image as the address of a PNG."""
    from PIL import Image

    file = BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
