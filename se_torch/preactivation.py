"""The residual blocks whose norms and ReLUs come before their convolutions (arXiv 1603.05027), in PyTorch."""

import torch
from torch import Tensor, nn

from se_spec import Block
from se_torch.layers import average_pool, batch_norm, convolution, drop_path, norm
from se_torch.se_layer import squeeze_excitation
from se_torch.shortcut import shortcut


class SEPreActBasicBlock(nn.Module):
    """Two 3x3 convolutions, each after a norm and a ReLU; SE scales the residual before it is added to the shortcut.

    A shortcut that is a convolution takes what the first ReLU gives (arXiv 1603.05027, figure 4 e and section 4).

    Args:
        block: sizes and settings of the block.
        zero_init_residual: must be False, since no norm ends the residual branch.
    """

    def __init__(self, block: Block, *, zero_init_residual: bool = False) -> None:
        super().__init__()
        block.check_zero_init(zero_init_residual)
        conv1, conv2 = block.convolutions
        self.projects = block.projects
        self.bn1 = norm(block.in_channels, block.epsilon)
        self.conv1 = convolution(conv1)
        self.bn2 = batch_norm(conv1, block.epsilon)
        self.conv2 = convolution(conv2)
        self.se = squeeze_excitation(block.se)
        self.drop_path = drop_path(block.drop_path)
        self.pool = average_pool(block.pool)
        self.downsample = shortcut(block)

    def forward(self, x: Tensor) -> Tensor:
        activated = torch.relu(self.bn1(x))
        residual = torch.relu(self.bn2(self.conv1(activated)))
        residual = self.drop_path(self.se(self.conv2(residual)))
        if self.projects:
            x = self.downsample(self.pool(activated))
        return residual + x


class SEPreActBottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, each after a norm and a ReLU; SE scales the residual before it is added.

    A shortcut that is a convolution takes what the first ReLU gives (arXiv 1603.05027, figure 4 e and section 4).

    Args:
        block: sizes and settings of the block.
        zero_init_residual: must be False, since no norm ends the residual branch.
    """

    def __init__(self, block: Block, *, zero_init_residual: bool = False) -> None:
        super().__init__()
        block.check_zero_init(zero_init_residual)
        conv1, conv2, conv3 = block.convolutions
        self.projects = block.projects
        self.bn1 = norm(block.in_channels, block.epsilon)
        self.conv1 = convolution(conv1)
        self.bn2 = batch_norm(conv1, block.epsilon)
        self.conv2 = convolution(conv2)
        self.bn3 = batch_norm(conv2, block.epsilon)
        self.conv3 = convolution(conv3)
        self.se = squeeze_excitation(block.se)
        self.drop_path = drop_path(block.drop_path)
        self.pool = average_pool(block.pool)
        self.downsample = shortcut(block)

    def forward(self, x: Tensor) -> Tensor:
        activated = torch.relu(self.bn1(x))
        residual = torch.relu(self.bn2(self.conv1(activated)))
        residual = torch.relu(self.bn3(self.conv2(residual)))
        residual = self.drop_path(self.se(self.conv3(residual)))
        if self.projects:
            x = self.downsample(self.pool(activated))
        return residual + x
