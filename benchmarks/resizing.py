"""How far the frameworks' own resizing is from Pillow's: `python -m benchmarks.resizing`.

The table is in docs/reference/preprocessing.md.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from collections.abc import Callable, Iterator

import jax
import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_image

from se_images import resize

SIDES = (235, 352)
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
JAX_METHODS = {"bilinear": "linear", "bicubic": "cubic"}


def ways(pixels: NDArray[np.uint8], name: str) -> Iterator[tuple[str, Callable[[], NDArray]]]:
    """Each way to resize an image, in the order of the table."""
    floats = pixels.astype(np.float32)
    yield "se_images.resize", lambda: resize(pixels, *SIDES, name)
    yield "tf.image, antialias", lambda: tf.image.resize(floats, SIDES, name, antialias=True).numpy()
    yield "keras.ops, antialias", lambda: np.asarray(keras.ops.image.resize(floats, SIDES, name, antialias=True))
    yield "jax.image, antialias", lambda: np.asarray(jax.image.resize(floats, (*SIDES, 3), JAX_METHODS[name]))
    yield "tf.image", lambda: tf.image.resize(floats, SIDES, name).numpy()
    yield "keras.ops", lambda: np.asarray(keras.ops.image.resize(floats, SIDES, name))


def main() -> None:
    pixels = load_sample_image("china.jpg")
    for name, pillow in FILTERS.items():
        expected = np.asarray(Image.fromarray(pixels).resize(SIDES[::-1], pillow)).astype(np.float64)
        for way, run in ways(pixels, name):
            error = np.abs(np.clip(run(), 0, 255) - expected)
            share = np.mean(error > 0.5)
            print(f"{name:9} {way:22} largest {error.max():6.2f}, mean {error.mean():.3f}, above 0.5: {share:.1%}")


if __name__ == "__main__":
    main()
