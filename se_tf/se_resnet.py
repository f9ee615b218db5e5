"""SE-ResNet (arXiv 1709.01507, section 3.3), in Keras 3."""

from typing import Any

import keras
from keras import KerasTensor, ops

from se_spec import Block, SEResNetArchitecture
from se_tf.layers import (
    antialias,
    average_pool,
    batch_norm,
    convolution,
    drop_path,
    identity,
    max_pool,
    optional_norm,
    relu,
)
from se_tf.network import Network, classifier
from se_tf.preactivation import SEPreActBasicBlock, SEPreActBottleneck
from se_tf.residual_block import ResidualBlock
from se_tf.se_layer import squeeze_excitation
from se_tf.shortcut import shortcut


@keras.saving.register_keras_serializable("se_tf")
class SEBasicBlock(ResidualBlock):
    """Two 3x3 convolutions; SE scales the residual before it is added to the shortcut (paper, figure 3).

    Args:
        block: sizes and settings of the block.
        zero_init_residual: start the gain of the last norm at zero, so that the block starts as its shortcut.
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.
    """

    def __init__(self, block: Block, *, zero_init_residual: bool = False, **kwargs: Any) -> None:
        super().__init__(block, zero_init_residual=zero_init_residual, **kwargs)
        block.check_zero_init(zero_init_residual)
        self.shared_norm = block.shared_norm
        dtype = self.dtype_policy
        conv1, conv2 = block.convolutions
        self.conv1 = convolution(conv1, name="conv1", dtype=dtype)
        self.bn1 = batch_norm(conv1, block.epsilon, name="bn1", dtype=dtype)
        self.aa = antialias(block.aa, name="aa", dtype=dtype)
        self.conv2 = convolution(conv2, name="conv2", dtype=dtype)
        self.bn2 = (
            identity(name="bn2", dtype=dtype)
            if block.shared_norm
            else batch_norm(conv2, block.epsilon, zero_init=zero_init_residual, name="bn2", dtype=dtype)
        )
        self.act = relu(block.relu_before_se, name="act", dtype=dtype)
        self.se = squeeze_excitation(block.se, name="se", dtype=dtype)
        self.drop_path = drop_path(block.drop_path, name="drop_path", dtype=dtype)
        self.pool = average_pool(block.pool, name="pool", dtype=dtype)
        self.downsample = shortcut(block, dtype=dtype)

    def call(self, x: KerasTensor, training: bool | None = None) -> KerasTensor:
        residual = self.aa(ops.relu(self.bn1(self.conv1(x))))
        residual = self.conv2(residual)
        residual = self.bn1(residual) if self.shared_norm else self.bn2(residual)
        residual = self.drop_path(self.se(self.act(residual)))
        x = self.pool(x)
        for layer in self.downsample:
            x = layer(x)
        return ops.relu(residual + x)


@keras.saving.register_keras_serializable("se_tf")
class SEBottleneck(ResidualBlock):
    """1x1, 3x3 and 1x1 convolutions; SE scales the residual before it is added to the shortcut (paper, table 1).

    Args:
        block: sizes and settings of the block.
        zero_init_residual: start the gain of the last norm at zero, so that the block starts as its shortcut.
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.
    """

    def __init__(self, block: Block, *, zero_init_residual: bool = False, **kwargs: Any) -> None:
        super().__init__(block, zero_init_residual=zero_init_residual, **kwargs)
        self.shared_norm = block.shared_norm
        dtype = self.dtype_policy
        conv1, conv2, conv3 = block.convolutions
        self.conv1 = convolution(conv1, name="conv1", dtype=dtype)
        self.bn1 = batch_norm(conv1, block.epsilon, name="bn1", dtype=dtype)
        self.conv2 = convolution(conv2, name="conv2", dtype=dtype)
        self.bn2 = (
            identity(name="bn2", dtype=dtype)
            if block.shared_norm
            else batch_norm(conv2, block.epsilon, name="bn2", dtype=dtype)
        )
        self.aa = antialias(block.aa, name="aa", dtype=dtype)
        self.conv3 = convolution(conv3, name="conv3", dtype=dtype)
        self.bn3 = batch_norm(conv3, block.epsilon, zero_init=zero_init_residual, name="bn3", dtype=dtype)
        self.act = relu(block.relu_before_se, name="act", dtype=dtype)
        self.se = squeeze_excitation(block.se, name="se", dtype=dtype)
        self.drop_path = drop_path(block.drop_path, name="drop_path", dtype=dtype)
        self.pool = average_pool(block.pool, name="pool", dtype=dtype)
        self.downsample = shortcut(block, dtype=dtype)

    def call(self, x: KerasTensor, training: bool | None = None) -> KerasTensor:
        residual = ops.relu(self.bn1(self.conv1(x)))
        residual = self.conv2(residual)
        residual = self.bn1(residual) if self.shared_norm else self.bn2(residual)
        residual = self.aa(ops.relu(residual))
        residual = self.drop_path(self.se(self.act(self.bn3(self.conv3(residual)))))
        x = self.pool(x)
        for layer in self.downsample:
            x = layer(x)
        return ops.relu(residual + x)


BLOCKS = {
    ("post", "basic"): SEBasicBlock,
    ("post", "bottleneck"): SEBottleneck,
    ("pre", "basic"): SEPreActBasicBlock,
    ("pre", "bottleneck"): SEPreActBottleneck,
}
"""The class of a block by its order and its kind."""


@keras.saving.register_keras_serializable("se_tf")
class SEResNet(Network):
    """An SE-ResNet as its architecture describes it: images (N, H, W, C) to logits (N, num_classes).

    A functional model: `summary()` lists its blocks, and `keras.Model(model.inputs,
    model.get_layer("layer3_0").output)` gives the features after any of them.

    Args:
        architecture: the configuration of the network.
        zero_init_residual: start the residual branch of every block at zero (arXiv 1706.02677, section 5.1).
        dtype: dtype or dtype policy of all layers; Keras's own by default.
        name: name of the model; the architecture's by default.

    Raises:
        ValueError: when called with images of another rank or channel count.
        TypeError: when called with images that are not floating-point.
    """

    def __init__(
        self,
        architecture: SEResNetArchitecture,
        *,
        zero_init_residual: bool = False,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        dtype = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        epsilon = architecture.bn_epsilon
        stem = architecture.stem_convolutions
        deep_stem = len(stem) >= 3
        strided_stem = len(stem) == 4
        images = keras.Input((None, None, architecture.in_channels), dtype=dtype.variable_dtype, name="images")

        bn0 = optional_norm(architecture.bn0, name="bn0", dtype=dtype)
        conv1 = convolution(stem[0], name="conv1", dtype=dtype)
        bn1 = (
            batch_norm(stem[0], epsilon, name="bn1", dtype=dtype)
            if architecture.stem.norm
            else identity(name="bn1", dtype=dtype)
        )
        relu1 = relu(architecture.stem.norm, name="relu1", dtype=dtype)
        x = relu1(bn1(conv1(bn0(images))))
        if deep_stem:
            conv2 = convolution(stem[1], name="conv2", dtype=dtype)
            bn2 = batch_norm(stem[1], epsilon, name="bn2", dtype=dtype)
            x = keras.layers.ReLU(name="relu2", dtype=dtype)(bn2(conv2(x)))
            conv3 = convolution(stem[2], name="conv3", dtype=dtype)
            bn3 = batch_norm(stem[2], epsilon, name="bn3", dtype=dtype)
            x = keras.layers.ReLU(name="relu3", dtype=dtype)(bn3(conv3(x)))
        if strided_stem:
            conv4 = convolution(stem[3], name="conv4", dtype=dtype)
            bn4 = batch_norm(stem[3], epsilon, name="bn4", dtype=dtype)
            x = keras.layers.ReLU(name="relu4", dtype=dtype)(bn4(conv4(x)))
        maxpool = max_pool(architecture.max_pool, name="maxpool", dtype=dtype)
        aa = antialias(architecture.aa, name="aa", dtype=dtype)
        layer1 = stage(architecture.stage(1), zero_init_residual, dtype=dtype)
        layer2 = stage(architecture.stage(2), zero_init_residual, dtype=dtype)
        layer3 = stage(architecture.stage(3), zero_init_residual, dtype=dtype)
        layer4 = stage(architecture.stage(4), zero_init_residual, dtype=dtype)
        norm = optional_norm(architecture.norm, name="norm", dtype=dtype)
        last_relu = relu(architecture.norm is not None, name="relu", dtype=dtype)
        dropout = keras.layers.Dropout(architecture.dropout, name="dropout", dtype=dtype)
        fc = classifier(architecture, name="fc", dtype=dtype)

        x = aa(maxpool(x))
        for block in (*layer1, *layer2, *layer3, *layer4):
            x = block(x)
        x = last_relu(norm(x))
        x = keras.layers.GlobalAveragePooling2D(data_format="channels_last", name="pool", dtype=dtype)(x)
        super().__init__(architecture, images, fc(dropout(x)), dtype=dtype, name=name)

        self.zero_init_residual = zero_init_residual
        self.bn0 = bn0
        self.conv1 = conv1
        self.bn1 = bn1
        self.relu1 = relu1
        if deep_stem:
            self.conv2 = conv2
            self.bn2 = bn2
            self.conv3 = conv3
            self.bn3 = bn3
        if strided_stem:
            self.conv4 = conv4
            self.bn4 = bn4
        self.maxpool = maxpool
        self.aa = aa
        self.layer1 = layer1
        self.layer2 = layer2
        self.layer3 = layer3
        self.layer4 = layer4
        self.norm = norm
        self.relu = last_relu
        self.dropout = dropout
        self.fc = fc

    def stage_features(self, images: KerasTensor) -> dict[str, KerasTensor]:
        """The features (N, H, W, C) of the stem and of each stage; their sizes are `architecture.stage_outputs`."""
        outputs = {"stem": self.aa.output}
        for name, stage in (
            ("layer1", self.layer1),
            ("layer2", self.layer2),
            ("layer3", self.layer3),
            ("layer4", self.layer4),
        ):
            for block in stage:
                outputs[name] = block.output
        return keras.Model(self.inputs[0], outputs)(images)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "zero_init_residual": self.zero_init_residual}


def stage(blocks: list[Block], zero_init_residual: bool, **kwargs: Any) -> list[ResidualBlock]:
    """The blocks of one stage; none where the network does not have the stage.

    Args:
        blocks: sizes and settings of each block, in the order they are applied.
        zero_init_residual: start the gain of each block's last norm at zero.
        **kwargs: `dtype` and the other arguments of keras.layers.Layer.
    """
    return [
        BLOCKS[block.order, block.kind](
            block, zero_init_residual=zero_init_residual, name=block.name.replace(".", "_"), **kwargs
        )
        for block in blocks
    ]
