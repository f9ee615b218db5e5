"""The residual blocks whose norms and ReLUs come before their convolutions (arXiv 1603.05027), in Keras 3."""

from typing import Any

import keras
from keras import KerasTensor, ops

from se_spec import Block
from se_tf.layers import average_pool, batch_norm, convolution, drop_path, norm
from se_tf.residual_block import ResidualBlock
from se_tf.se_layer import squeeze_excitation
from se_tf.shortcut import shortcut


@keras.saving.register_keras_serializable("se_tf")
class SEPreActBasicBlock(ResidualBlock):
    """Two 3x3 convolutions, each after a norm and a ReLU; SE scales the residual before it is added to the shortcut.

    A shortcut that is a convolution takes what the first ReLU gives (arXiv 1603.05027, figure 4 e and section 4).

    Args:
        block: sizes and settings of the block.
        zero_init_residual: must be False, since no norm ends the residual branch.
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.
    """

    def __init__(self, block: Block, *, zero_init_residual: bool = False, **kwargs: Any) -> None:
        super().__init__(block, zero_init_residual=zero_init_residual, **kwargs)
        block.check_zero_init(zero_init_residual)
        dtype = self.dtype_policy
        conv1, conv2 = block.convolutions
        self.projects = block.projects
        self.bn1 = norm(block.in_channels, block.epsilon, name="bn1", dtype=dtype)
        self.conv1 = convolution(conv1, name="conv1", dtype=dtype)
        self.bn2 = batch_norm(conv1, block.epsilon, name="bn2", dtype=dtype)
        self.conv2 = convolution(conv2, name="conv2", dtype=dtype)
        self.se = squeeze_excitation(block.se, name="se", dtype=dtype)
        self.drop_path = drop_path(block.drop_path, name="drop_path", dtype=dtype)
        self.pool = average_pool(block.pool, name="pool", dtype=dtype)
        self.downsample = shortcut(block, dtype=dtype)

    def call(self, x: KerasTensor, training: bool | None = None) -> KerasTensor:
        activated = ops.relu(self.bn1(x))
        residual = ops.relu(self.bn2(self.conv1(activated)))
        residual = self.drop_path(self.se(self.conv2(residual)))
        if self.projects:
            x = self.pool(activated)
        for layer in self.downsample:
            x = layer(x)
        return residual + x


@keras.saving.register_keras_serializable("se_tf")
class SEPreActBottleneck(ResidualBlock):
    """1x1, 3x3 and 1x1 convolutions, each after a norm and a ReLU; SE scales the residual before it is added.

    A shortcut that is a convolution takes what the first ReLU gives (arXiv 1603.05027, figure 4 e and section 4).

    Args:
        block: sizes and settings of the block.
        zero_init_residual: must be False, since no norm ends the residual branch.
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.
    """

    def __init__(self, block: Block, *, zero_init_residual: bool = False, **kwargs: Any) -> None:
        super().__init__(block, zero_init_residual=zero_init_residual, **kwargs)
        block.check_zero_init(zero_init_residual)
        dtype = self.dtype_policy
        conv1, conv2, conv3 = block.convolutions
        self.projects = block.projects
        self.bn1 = norm(block.in_channels, block.epsilon, name="bn1", dtype=dtype)
        self.conv1 = convolution(conv1, name="conv1", dtype=dtype)
        self.bn2 = batch_norm(conv1, block.epsilon, name="bn2", dtype=dtype)
        self.conv2 = convolution(conv2, name="conv2", dtype=dtype)
        self.bn3 = batch_norm(conv2, block.epsilon, name="bn3", dtype=dtype)
        self.conv3 = convolution(conv3, name="conv3", dtype=dtype)
        self.se = squeeze_excitation(block.se, name="se", dtype=dtype)
        self.drop_path = drop_path(block.drop_path, name="drop_path", dtype=dtype)
        self.pool = average_pool(block.pool, name="pool", dtype=dtype)
        self.downsample = shortcut(block, dtype=dtype)

    def call(self, x: KerasTensor, training: bool | None = None) -> KerasTensor:
        activated = ops.relu(self.bn1(x))
        residual = ops.relu(self.bn2(self.conv1(activated)))
        residual = ops.relu(self.bn3(self.conv2(residual)))
        residual = self.drop_path(self.se(self.conv3(residual)))
        if self.projects:
            x = self.pool(activated)
        for layer in self.downsample:
            x = layer(x)
        return residual + x
