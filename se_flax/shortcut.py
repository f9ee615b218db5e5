"""The shortcut of a residual block, in Flax NNX."""

from typing import Any

from flax import nnx

from se_flax.layers import batch_norm, convolution
from se_spec import Block


def shortcut(block: Block, **options: Any) -> nnx.List:
    """The layers of the shortcut: a projection and its norm, if it has one, or none.

    Args:
        block: sizes and settings of the block.
        **options: `dtype`, `param_dtype` and `rngs`, as SEResNet takes them.
    """
    if not block.projection:
        return nnx.List([])
    if not block.shortcut_norm:
        return nnx.List([convolution(block.projection, **options)])
    return nnx.List([convolution(block.projection, **options), batch_norm(block.projection, block.epsilon, **options)])
