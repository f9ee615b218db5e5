"""Architectures and preprocessing as cells of the table of published files."""

import json
from dataclasses import replace
from functools import cache

from se_spec import Architecture, architecture, list_architectures
from se_weights.preprocessing import CAFFE, CIFAR, IMAGENET, MMPRETRAIN, RAW, STANDARD_CLASSES, VGGFACE2, Preprocessing

NORMALIZATIONS = {
    "imagenet": IMAGENET,
    "half": replace(IMAGENET, mean=(0.5,) * 3, std=(0.5,) * 3),
    "caffe": CAFFE,
    "mmpretrain": MMPRETRAIN,
    "raw": RAW,
    "vggface2": VGGFACE2,
    "cifar": CIFAR,
}
"""The words with which cells of preprocessing begin."""


def encode(network: Architecture) -> str:
    """An architecture as a cell of the table: the name, and the fields in which it differs from the named one."""
    named = architecture(network.name).to_dict() if network.name in list_architectures() else {"name": network.name}
    fields = {name: value for name, value in network.to_dict().items() if value != named.get(name)}
    return f"{network.name} {json.dumps(fields, separators=(',', ':'))}"


@cache
def decode(cell: str) -> Architecture:
    """The architecture of a cell of the table."""
    name, _, text = cell.partition(" ")
    fields = json.loads(text)
    if name not in list_architectures():
        return Architecture.from_dict({"name": name, **fields})
    return Architecture.from_dict({**architecture(name).to_dict(), **fields})


def decode_preprocessing(cell: str, classes: int) -> Preprocessing | None:
    """The preprocessing of a cell such as "imagenet 224 bicubic 0.95": normalization, size, filter, crop, and mode.

    Args:
        cell: The cell; empty where the preprocessing is not known.
        classes: The number of classes of the network.
    """
    if not cell:
        return None
    normalization, size, interpolation, crop, *mode = cell.split()
    known = NORMALIZATIONS[normalization]
    order = known.classes if classes == 1000 or known.classes != STANDARD_CLASSES else "as published"
    crop_mode = mode[0] if mode else known.crop_mode
    return replace(
        known, size=int(size), interpolation=interpolation, crop=float(crop), classes=order, crop_mode=crop_mode
    )
