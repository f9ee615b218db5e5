"""Two orders that no shape shows: of the input's channels, and of the classes.

The authors' Caffe networks take BGR images and number the ILSVRC classes in an order of their own, and so do files that
were converted from them without a thought. A reordering is made where it is asked for, and recorded.
"""

from dataclasses import replace
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from se_weights.checkpoint import Checkpoint
from se_weights.errors import UnsupportedFormat
from se_weights.preprocessing import CAFFE_CLASSES, STANDARD_CLASSES

REORDERED = "reordered"


@cache
def caffe_to_standard() -> NDArray[np.int64]:
    """The standard number of each class of the authors' Caffe release: a permutation of 0 to 999 without a fixed point.

    Source: chainer/chainercv, examples/senet/label_map.csv; the first pair, 489 and 65, is the one that
    hujie-frank/SENet's own ILSVRC2017_val.txt shows for the first image of the validation set.
    """
    text = files("se_weights.transforms").joinpath("caffe_classes.txt").read_text()
    return np.array(text.split(), np.int64)


def rgb_input(checkpoint: Checkpoint) -> Checkpoint:
    """A network of BGR images as one of RGB images: the inputs of its first convolution in reverse order."""
    if checkpoint.architecture.in_channels != 3:
        raise UnsupportedFormat(f"{checkpoint.architecture.name} does not take three channels, so they are in no order")
    weights = dict(checkpoint.weights)
    weights["conv1.weight"] = weights["conv1.weight"][:, ::-1].copy()
    known = checkpoint.preprocessing
    changed = known and replace(known, channels="RGB", mean=known.mean[::-1], std=known.std[::-1])
    if not known or known.channels == "RGB":
        changed = known
    metadata = {"preprocessing": changed.text} if changed else {}
    return _recorded(checkpoint, "input channels from BGR to RGB", weights, metadata)


def standard_classes(checkpoint: Checkpoint) -> Checkpoint:
    """A network whose classes are in Caffe's order as one whose are in the standard order."""
    if checkpoint.architecture.num_classes != 1000:
        raise UnsupportedFormat(
            f"{checkpoint.architecture.name} does not have ILSVRC's 1000 classes to be put in order"
        )
    order = np.argsort(caffe_to_standard())
    weights = dict(checkpoint.weights)
    weights |= {name: weights[name][order].copy() for name in ("fc.weight", "fc.bias")}
    known = checkpoint.preprocessing
    metadata = {"preprocessing": replace(known, classes=STANDARD_CLASSES).text} if known else {}
    return _recorded(checkpoint, f"classes from {CAFFE_CLASSES} to {STANDARD_CLASSES}", weights, metadata)


def _recorded(checkpoint: Checkpoint, what: str, weights: dict[str, NDArray], metadata: dict[str, str]) -> Checkpoint:
    before = checkpoint.metadata.get(REORDERED, "")
    if what in before:
        raise UnsupportedFormat(f"the file says that this was done already: {before}")
    record = {REORDERED: "; ".join(filter(None, (before, what)))}
    return checkpoint.with_weights(weights, {**metadata, **record})
