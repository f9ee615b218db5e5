"""The residual blocks whose norms and ReLUs come before their convolutions (arXiv 1603.05027), in Flax NNX."""

from typing import Any

from flax import nnx
from jax import Array

from se_flax.layers import average_pool, batch_norm, convolution, drop_path, norm
from se_flax.se_layer import squeeze_excitation
from se_flax.shortcut import shortcut
from se_spec import Block


class SEPreActBasicBlock(nnx.Module):
    """Two 3x3 convolutions, each after a norm and a ReLU; SE scales the residual before it is added to the shortcut.

    A shortcut that is a convolution takes what the first ReLU gives (arXiv 1603.05027, figure 4 e and section 4).

    Args:
        block: sizes and settings of the block.
        zero_init_residual: must be False, since no norm ends the residual branch.
        **options: `dtype`, `param_dtype` and `rngs`, as SEResNet takes them.
    """

    def __init__(self, block: Block, *, zero_init_residual: bool = False, **options: Any) -> None:
        block.check_zero_init(zero_init_residual)
        conv1, conv2 = block.convolutions
        self.projects = block.projects
        self.bn1 = norm(block.in_channels, block.epsilon, **options)
        self.conv1 = convolution(conv1, **options)
        self.bn2 = batch_norm(conv1, block.epsilon, **options)
        self.conv2 = convolution(conv2, **options)
        self.se = squeeze_excitation(block.se, **options)
        self.drop_path = drop_path(block.drop_path, **options)
        self.pool = average_pool(block.pool)
        self.downsample = shortcut(block, **options)

    def __call__(self, x: Array) -> Array:
        activated = nnx.relu(self.bn1(x))
        residual = nnx.relu(self.bn2(self.conv1(activated)))
        residual = self.drop_path(self.se(self.conv2(residual)))
        if self.projects:
            x = self.pool(activated)
        for layer in self.downsample:
            x = layer(x)
        return residual + x


class SEPreActBottleneck(nnx.Module):
    """1x1, 3x3 and 1x1 convolutions, each after a norm and a ReLU; SE scales the residual before it is added.

    A shortcut that is a convolution takes what the first ReLU gives (arXiv 1603.05027, figure 4 e and section 4).

    Args:
        block: sizes and settings of the block.
        zero_init_residual: must be False, since no norm ends the residual branch.
        **options: `dtype`, `param_dtype` and `rngs`, as SEResNet takes them.
    """

    def __init__(self, block: Block, *, zero_init_residual: bool = False, **options: Any) -> None:
        block.check_zero_init(zero_init_residual)
        conv1, conv2, conv3 = block.convolutions
        self.projects = block.projects
        self.bn1 = norm(block.in_channels, block.epsilon, **options)
        self.conv1 = convolution(conv1, **options)
        self.bn2 = batch_norm(conv1, block.epsilon, **options)
        self.conv2 = convolution(conv2, **options)
        self.bn3 = batch_norm(conv2, block.epsilon, **options)
        self.conv3 = convolution(conv3, **options)
        self.se = squeeze_excitation(block.se, **options)
        self.drop_path = drop_path(block.drop_path, **options)
        self.pool = average_pool(block.pool)
        self.downsample = shortcut(block, **options)

    def __call__(self, x: Array) -> Array:
        activated = nnx.relu(self.bn1(x))
        residual = nnx.relu(self.bn2(self.conv1(activated)))
        residual = nnx.relu(self.bn3(self.conv2(residual)))
        residual = self.drop_path(self.se(self.conv3(residual)))
        if self.projects:
            x = self.pool(activated)
        for layer in self.downsample:
            x = layer(x)
        return residual + x
