"""Adapts the stem of a network to images of another number of channels, as timm does."""

import logging
import math
from dataclasses import replace

import numpy as np

from se_spec import Role, manifest
from se_weights.checkpoint import Checkpoint
from se_weights.errors import UnsupportedFormat

logger = logging.getLogger("se_weights")

ADAPTED = "adapted"
"""The metadata key of what was adapted."""


def adapt_in_channels(checkpoint: Checkpoint, in_channels: int) -> Checkpoint:
    """Change a network of RGB images to one of images with another number of channels, and log a warning.

    For one channel, the kernel of the first convolution is summed over its input channels, so that a gray image gives
    what it gave as an RGB image. For other numbers the kernel is repeated, and scaled by 3 / in_channels. Source: timm
    1.0.31, models/_manipulate.py (`adapt_input_conv`).

    Args:
        checkpoint: A network; returned unchanged if it has this number of channels.
        in_channels: The new number of channels.

    Raises:
        UnsupportedFormat: The network has another number of channels than three, or a norm of its images.
    """
    architecture = checkpoint.architecture
    if in_channels == architecture.in_channels:
        return checkpoint
    adapted = architecture.replace(in_channels=in_channels)
    shapes = {each.name: each.shape for each in manifest(adapted)}
    first = next(each for each in manifest(architecture) if each.role is Role.CONVOLUTION)
    changed = [each.name for each in manifest(architecture) if shapes[each.name] != each.shape]
    if architecture.in_channels != 3 or changed != [first.name]:
        raise UnsupportedFormat(
            f"the stem of {architecture.name} cannot be adapted from {architecture.in_channels} to {in_channels} "
            f"channels, which would change {', '.join(changed)}"
        )
    kernel = checkpoint.weights[first.name]
    values = kernel.astype(np.float64)
    if in_channels == 1:
        values, how = values.sum(axis=1, keepdims=True), "summed over its input channels"
    else:
        values = np.tile(values, (1, math.ceil(in_channels / 3), 1, 1))[:, :in_channels] * (3 / in_channels)
        how = f"repeated for {in_channels} channels and scaled"
    logger.warning("the kernel of %s is %s", first.name, how)
    weights = {**checkpoint.weights, first.name: np.ascontiguousarray(values.astype(kernel.dtype))}
    return replace(checkpoint.with_weights(weights, {ADAPTED: f"{first.name} {how}"}), architecture=adapted)
