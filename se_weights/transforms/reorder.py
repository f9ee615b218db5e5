"""Reorders the input channels and the classes, whose order no shape shows.

The authors' Caffe networks take BGR images and have their own order of the ILSVRC classes; so do most conversions of
these networks. A reordering is applied only on request, and recorded in the metadata.
"""

from dataclasses import replace
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from se_spec import Layer, Role, manifest
from se_weights.checkpoint import Checkpoint
from se_weights.errors import UnsupportedFormat
from se_weights.preprocessing import CAFFE_CLASSES, STANDARD_CLASSES

REORDERED = "reordered"
"""The metadata key of the reorderings that were applied."""


@cache
def caffe_to_standard() -> NDArray[np.int64]:
    """The standard index of each class of the authors' Caffe release: a permutation of 0 to 999 without fixed points.

    Source: chainer/chainercv, examples/senet/label_map.csv; the pair 489 and 65 is also that of the first image of the
    validation set in hujie-frank/SENet, ILSVRC2017_val.txt.
    """
    text = files("se_weights.transforms").joinpath("caffe_classes.txt").read_text()
    return np.array(text.split(), np.int64)


def rgb_input(checkpoint: Checkpoint) -> Checkpoint:
    """Change a network of BGR images to one of RGB images, by reversing the input channels of its first convolution.

    Args:
        checkpoint: A network with three input channels.

    Returns:
        The checkpoint with a changed kernel of the first convolution, and preprocessing.

    Raises:
        UnsupportedFormat: The network does not have three input channels, or the metadata say that it was changed
            before.
    """
    if checkpoint.architecture.in_channels != 3:
        raise UnsupportedFormat(
            f"{checkpoint.architecture.name} has {checkpoint.architecture.in_channels} input channels: only three "
            "can be changed from BGR to RGB"
        )
    weights = dict(checkpoint.weights)
    first = next(each.name for each in manifest(checkpoint.architecture) if each.role is Role.CONVOLUTION)
    weights[first] = weights[first][:, ::-1].copy()
    preprocessing = checkpoint.preprocessing
    if preprocessing and preprocessing.channels != "RGB":
        preprocessing = replace(
            preprocessing, channels="RGB", mean=preprocessing.mean[::-1], std=preprocessing.std[::-1]
        )
    metadata = {"preprocessing": preprocessing.text} if preprocessing else {}
    return _with_reordering(checkpoint, "input channels from BGR to RGB", weights, metadata)


def standard_classes(checkpoint: Checkpoint) -> Checkpoint:
    """Change a network whose classes are in the order of the Caffe release to the standard order.

    Args:
        checkpoint: A network of the 1000 ILSVRC classes.

    Returns:
        The checkpoint with a changed classifier and preprocessing.

    Raises:
        UnsupportedFormat: The network does not have 1000 classes, or the metadata say that it was changed before.
    """
    if checkpoint.architecture.num_classes != 1000:
        raise UnsupportedFormat(
            f"{checkpoint.architecture.name} has {checkpoint.architecture.num_classes} classes: only the 1000 classes "
            "of ILSVRC can be reordered"
        )
    order = np.argsort(caffe_to_standard())
    weights = dict(checkpoint.weights)
    classifier = [each.name for each in manifest(checkpoint.architecture) if each.layer is Layer.CLASSIFIER]
    weights |= {name: weights[name][order].copy() for name in classifier}
    preprocessing = checkpoint.preprocessing
    metadata = {"preprocessing": replace(preprocessing, classes=STANDARD_CLASSES).text} if preprocessing else {}
    return _with_reordering(checkpoint, f"classes from {CAFFE_CLASSES} to {STANDARD_CLASSES}", weights, metadata)


def _with_reordering(
    checkpoint: Checkpoint, reordering: str, weights: dict[str, NDArray], metadata: dict[str, str]
) -> Checkpoint:
    """The checkpoint with reordered weights and a record of it. Raises UnsupportedFormat if it was done before."""
    earlier = checkpoint.metadata.get(REORDERED, "")
    if reordering in earlier:
        raise UnsupportedFormat(f"the metadata of the file say that this was done already: {earlier}")
    return checkpoint.with_weights(weights, {**metadata, REORDERED: "; ".join(filter(None, (earlier, reordering)))})
