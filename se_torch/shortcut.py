"""The shortcut of a residual block, in PyTorch."""

from torch import nn

from se_spec import Block
from se_torch.layers import batch_norm, convolution


def shortcut(block: Block) -> nn.Sequential:
    """The layers of the shortcut: a projection and its norm, if it has one, or none.

    Args:
        block: sizes and settings of the block.
    """
    if not block.projection:
        return nn.Sequential()
    if not block.shortcut_norm:
        return nn.Sequential(convolution(block.projection))
    return nn.Sequential(convolution(block.projection), batch_norm(block.projection, block.epsilon))
