"""SE-ResNet (arXiv 1709.01507, section 3.3), in Flax NNX."""

from typing import Any, Self

import jax.numpy as jnp
from flax import nnx
from jax import Array

from se_flax.layers import (
    antialias,
    average_pool,
    batch_norm,
    convolution,
    drop_path,
    dropout,
    identity,
    max_pool,
    optional_norm,
    relu,
)
from se_flax.network import Network, classifier, outputs
from se_flax.preactivation import SEPreActBasicBlock, SEPreActBottleneck
from se_flax.se_layer import squeeze_excitation
from se_flax.shortcut import shortcut
from se_spec import Architecture, Block, SEResNetArchitecture


class SEBasicBlock(nnx.Module):
    """Two 3x3 convolutions; SE scales the residual before it is added to the shortcut (paper, figure 3).

    Args:
        block: sizes and settings of the block.
        zero_init_residual: start the gain of the last norm at zero, so that the block starts as its shortcut.
        **options: `dtype`, `param_dtype` and `rngs`, as SEResNet takes them.
    """

    def __init__(self, block: Block, *, zero_init_residual: bool = False, **options: Any) -> None:
        block.check_zero_init(zero_init_residual)
        self.shared_norm = block.shared_norm
        conv1, conv2 = block.convolutions
        self.conv1 = convolution(conv1, **options)
        self.bn1 = batch_norm(conv1, block.epsilon, **options)
        self.aa = antialias(block.aa)
        self.conv2 = convolution(conv2, **options)
        self.bn2 = (
            identity if block.shared_norm else batch_norm(conv2, block.epsilon, zero_init=zero_init_residual, **options)
        )
        self.act = relu(block.relu_before_se)
        self.se = squeeze_excitation(block.se, **options)
        self.drop_path = drop_path(block.drop_path, **options)
        self.pool = average_pool(block.pool)
        self.downsample = shortcut(block, **options)

    def __call__(self, x: Array) -> Array:
        residual = self.aa(nnx.relu(self.bn1(self.conv1(x))))
        residual = self.conv2(residual)
        residual = self.bn1(residual) if self.shared_norm else self.bn2(residual)
        residual = self.drop_path(self.se(self.act(residual)))
        x = self.pool(x)
        for layer in self.downsample:
            x = layer(x)
        return nnx.relu(residual + x)


class SEBottleneck(nnx.Module):
    """1x1, 3x3 and 1x1 convolutions; SE scales the residual before it is added to the shortcut (paper, table 1).

    Args:
        block: sizes and settings of the block.
        zero_init_residual: start the gain of the last norm at zero, so that the block starts as its shortcut.
        **options: `dtype`, `param_dtype` and `rngs`, as SEResNet takes them.
    """

    def __init__(self, block: Block, *, zero_init_residual: bool = False, **options: Any) -> None:
        self.shared_norm = block.shared_norm
        conv1, conv2, conv3 = block.convolutions
        self.conv1 = convolution(conv1, **options)
        self.bn1 = batch_norm(conv1, block.epsilon, **options)
        self.conv2 = convolution(conv2, **options)
        self.bn2 = identity if block.shared_norm else batch_norm(conv2, block.epsilon, **options)
        self.aa = antialias(block.aa)
        self.conv3 = convolution(conv3, **options)
        self.bn3 = batch_norm(conv3, block.epsilon, zero_init=zero_init_residual, **options)
        self.act = relu(block.relu_before_se)
        self.se = squeeze_excitation(block.se, **options)
        self.drop_path = drop_path(block.drop_path, **options)
        self.pool = average_pool(block.pool)
        self.downsample = shortcut(block, **options)

    def __call__(self, x: Array) -> Array:
        residual = nnx.relu(self.bn1(self.conv1(x)))
        residual = self.conv2(residual)
        residual = self.bn1(residual) if self.shared_norm else self.bn2(residual)
        residual = self.aa(nnx.relu(residual))
        residual = self.drop_path(self.se(self.act(self.bn3(self.conv3(residual)))))
        x = self.pool(x)
        for layer in self.downsample:
            x = layer(x)
        return nnx.relu(residual + x)


BLOCKS = {
    ("post", "basic"): SEBasicBlock,
    ("post", "bottleneck"): SEBottleneck,
    ("pre", "basic"): SEPreActBasicBlock,
    ("pre", "bottleneck"): SEPreActBottleneck,
}
"""The class of a block by its order and its kind."""


class SEResNet(Network):
    """An SE-ResNet as its architecture describes it: images (N, H, W, C) to logits (N, num_classes).

    Args:
        architecture: the configuration of the network.
        zero_init_residual: start the residual branch of every block at zero (arXiv 1706.02677, section 5.1).
        dtype: dtype of the computation; that of images and weights by default.
        param_dtype: dtype of the weights and of the running statistics.
        rngs: random numbers of the initial weights and of dropout.

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
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        options = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        super().__init__(architecture)
        conv1, *deep_stem = architecture.stem_convolutions
        self.deep_stem = len(deep_stem) >= 2
        self.strided_stem = len(deep_stem) == 3
        self.bn0 = optional_norm(architecture.bn0, **options)
        self.conv1 = convolution(conv1, **options)
        self.bn1 = batch_norm(conv1, architecture.bn_epsilon, **options) if architecture.stem.norm else identity
        self.relu1 = relu(architecture.stem.norm)
        if self.deep_stem:
            conv2, conv3 = deep_stem[:2]
            self.conv2 = convolution(conv2, **options)
            self.bn2 = batch_norm(conv2, architecture.bn_epsilon, **options)
            self.conv3 = convolution(conv3, **options)
            self.bn3 = batch_norm(conv3, architecture.bn_epsilon, **options)
        if self.strided_stem:
            conv4 = deep_stem[2]
            self.conv4 = convolution(conv4, **options)
            self.bn4 = batch_norm(conv4, architecture.bn_epsilon, **options)
        self.maxpool = max_pool(architecture.max_pool)
        self.aa = antialias(architecture.aa)
        self.layer1 = stage(architecture.stage(1), zero_init_residual, **options)
        self.layer2 = stage(architecture.stage(2), zero_init_residual, **options)
        self.layer3 = stage(architecture.stage(3), zero_init_residual, **options)
        self.layer4 = stage(architecture.stage(4), zero_init_residual, **options)
        self.norm = optional_norm(architecture.norm, **options)
        self.relu = relu(architecture.norm is not None)
        self.dropout = dropout(architecture.dropout, **options)
        self.fc = classifier(architecture, **options)

    @property
    def architecture(self) -> Architecture:
        """The configuration of the network, with the number of classes that its classifier `fc` has now."""
        return self.config.replace(num_classes=outputs(self.fc))

    def reset_classifier(self, num_classes: int, *, rngs: nnx.Rngs) -> Self:
        """Start a new classifier; the other weights stay.

        Args:
            num_classes: the number of classes; 0 for a network that returns its pooled features.
            rngs: random numbers of the initial weights.

        Returns:
            The model itself, whose `fc` is new.
        """
        self.fc = classifier(
            self.config.replace(num_classes=num_classes),
            dtype=self.conv1.dtype,
            param_dtype=self.conv1.param_dtype,
            rngs=rngs,
        )
        return self

    def forward_features(self, images: Array) -> Array:
        """The features (N, H, W, C) after the last stage, which the head averages over space."""
        self.expect(images)
        x = self.stem(images)
        for block in (*self.layer1, *self.layer2, *self.layer3, *self.layer4):
            x = block(x)
        return self.relu(self.norm(x))

    def stage_features(self, images: Array) -> dict[str, Array]:
        """The features (N, H, W, C) of the stem and of each stage; their sizes are `architecture.stage_outputs`."""
        self.expect(images)
        features = {"stem": self.stem(images)}
        x = features["stem"]
        for name, stage in (
            ("layer1", self.layer1),
            ("layer2", self.layer2),
            ("layer3", self.layer3),
            ("layer4", self.layer4),
        ):
            for block in stage:
                x = features[name] = block(x)
        return features

    def stem(self, images: Array) -> Array:
        """The features (N, H, W, C) that the first block takes."""
        x = self.relu1(self.bn1(self.conv1(self.bn0(images))))
        if self.deep_stem:
            x = nnx.relu(self.bn2(self.conv2(x)))
            x = nnx.relu(self.bn3(self.conv3(x)))
        if self.strided_stem:
            x = nnx.relu(self.bn4(self.conv4(x)))
        return self.aa(self.maxpool(x))

    def head(self, x: Array) -> Array:
        """The logits, from the last block's features averaged over space; without classes, those features."""
        return self.fc(self.dropout(jnp.mean(x, axis=(1, 2))))


def stage(blocks: list[Block], zero_init_residual: bool, **options: Any) -> nnx.List:
    """The blocks of one stage; none where the network does not have the stage.

    Args:
        blocks: sizes and settings of each block, in the order they are applied.
        zero_init_residual: start the gain of each block's last norm at zero.
        **options: `dtype`, `param_dtype` and `rngs`, as SEResNet takes them.
    """
    return nnx.List(
        [BLOCKS[block.order, block.kind](block, zero_init_residual=zero_init_residual, **options) for block in blocks]
    )
