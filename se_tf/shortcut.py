"""The shortcut of a residual block, in Keras 3."""

from typing import Any

import keras

from se_spec import Block
from se_tf.layers import batch_norm, convolution


def shortcut(block: Block, **kwargs: Any) -> list[keras.layers.Layer]:
    """The layers of the shortcut: a projection and its norm, if it has one, or none.

    Args:
        block: sizes and settings of the block.
        **kwargs: `dtype` and the other arguments of keras.layers.Layer.
    """
    if not block.projection:
        return []
    if not block.shortcut_norm:
        return [convolution(block.projection, name="downsample_0", **kwargs)]
    return [
        convolution(block.projection, name="downsample_0", **kwargs),
        batch_norm(block.projection, block.epsilon, name="downsample_1", **kwargs),
    ]
