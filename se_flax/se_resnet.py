"""SE-ResNet (arXiv 1709.01507, section 3.3), in Flax NNX."""

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array

import se_spec
from se_flax.batch_norm import BatchNorm
from se_flax.convolve import convolve
from se_flax.padding import MaxPool
from se_flax.se_layer import SELayer, dense
from se_spec import Architecture, Block, expect_floating, expect_images


class SEBasicBlock(nnx.Module):
    """Two 3x3 convolutions; SE scales the residual before it is added to the shortcut (paper, figure 3)."""

    def __init__(self, block: Block, *, zero_init_residual: bool = False, **options: Any) -> None:
        conv1, conv2 = block.convolutions
        self.conv1 = convolution(conv1, **options)
        self.bn1 = batch_norm(conv1, block.epsilon, **options)
        self.conv2 = convolution(conv2, **options)
        self.bn2 = batch_norm(conv2, block.epsilon, zero=zero_init_residual, **options)
        self.act = activation(block)
        self.se = squeeze_excitation(block, **options)
        self.pool = average_pool(block.pool)
        self.downsample = shortcut(block, **options)

    def __call__(self, x: Array) -> Array:
        residual = nnx.relu(self.bn1(self.conv1(x)))
        residual = self.se(self.act(self.bn2(self.conv2(residual))))
        x = self.pool(x)
        for layer in self.downsample:
            x = layer(x)
        return nnx.relu(residual + x)


class SEBottleneck(nnx.Module):
    """1x1, 3x3 and 1x1 convolutions; SE scales the residual before it is added to the shortcut (paper, table 1)."""

    def __init__(self, block: Block, *, zero_init_residual: bool = False, **options: Any) -> None:
        conv1, conv2, conv3 = block.convolutions
        self.conv1 = convolution(conv1, **options)
        self.bn1 = batch_norm(conv1, block.epsilon, **options)
        self.conv2 = convolution(conv2, **options)
        self.bn2 = batch_norm(conv2, block.epsilon, **options)
        self.conv3 = convolution(conv3, **options)
        self.bn3 = batch_norm(conv3, block.epsilon, zero=zero_init_residual, **options)
        self.act = activation(block)
        self.se = squeeze_excitation(block, **options)
        self.pool = average_pool(block.pool)
        self.downsample = shortcut(block, **options)

    def __call__(self, x: Array) -> Array:
        residual = nnx.relu(self.bn1(self.conv1(x)))
        residual = nnx.relu(self.bn2(self.conv2(residual)))
        residual = self.se(self.act(self.bn3(self.conv3(residual))))
        x = self.pool(x)
        for layer in self.downsample:
            x = layer(x)
        return nnx.relu(residual + x)


BLOCKS = {"basic": SEBasicBlock, "bottleneck": SEBottleneck}


class SEResNet(nnx.Module):
    """A network as its architecture describes it: images (N, H, W, C) to logits (N, num_classes).

    `zero_init_residual` starts every residual branch at zero (arXiv 1706.02677, section 5.1). `dtype` is the type
    that is computed in, `param_dtype` the type of the weights and the running statistics.
    Raises ValueError for images of another rank or channel count, and TypeError for whole numbers.
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        zero_init_residual: bool = False,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        options = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.architecture = architecture
        for number, stem in enumerate(architecture.stem_convolutions, start=1):
            setattr(self, f"conv{number}", convolution(stem, **options))
            setattr(self, f"bn{number}", batch_norm(stem, architecture.bn_epsilon, **options))
        self.maxpool = max_pool(architecture.max_pool)
        for layer, blocks in architecture.stages().items():
            stage = [BLOCKS[block.kind](block, zero_init_residual=zero_init_residual, **options) for block in blocks]
            setattr(self, layer, nnx.List(stage))
        self.dropout = dropout(architecture, rngs)
        self.fc = classifier(architecture, **options)

    def __call__(self, images: Array) -> Array:
        self.expect(images)
        x = self.stem(images)
        for _, block in self.blocks():
            x = block(x)
        return self.head(x)

    def stem(self, images: Array) -> Array:
        """The features that the first block takes."""
        x = images
        for number, _ in enumerate(self.architecture.stem_convolutions, start=1):
            x = nnx.relu(getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(x)))
        return self.maxpool(x)

    def blocks(self) -> Iterator[tuple[str, nnx.Module]]:
        """The blocks by canonical name, in the order they are applied."""
        for layer in self.architecture.stages():
            for index, block in enumerate(getattr(self, layer)):
                yield f"{layer}.{index}", block

    def head(self, x: Array) -> Array:
        """The logits, from the last block's features averaged over space; without classes, those features."""
        return self.fc(self.dropout(jnp.mean(x, axis=(1, 2))))

    def expect(self, images: Array) -> None:
        """Raise unless these are images that the network can take."""
        expect_images(images.shape, "NHWC", self.architecture.in_channels, self.architecture.smallest_side)
        expect_floating("SEResNet", jnp.issubdtype(images.dtype, jnp.floating), images.dtype)


def create_model(
    name: str, *, zero_init_residual: bool = False, rngs: nnx.Rngs | None = None, **config: Any
) -> SEResNet:
    """The named network, freshly initialised; facts such as num_classes, in_channels, stem, reduction and se_bias
    stand in for the architecture's own. Raises se_spec.ArchitectureError for an impossible one."""
    architecture = se_spec.architecture(name, **config)
    return SEResNet(architecture, zero_init_residual=zero_init_residual, rngs=rngs or nnx.Rngs(0))


def list_models(pattern: str = "*") -> list[str]:
    """The names that `create_model` knows and that match a shell pattern."""
    return [name for name in se_spec.list_architectures() if fnmatchcase(name, pattern)]


def convolution(convolution: se_spec.Convolution, **options: Any) -> nnx.Conv:
    """A convolution, padded alike on every side, He-normal by fan-out (arXiv 1502.01852); biases begin at zero."""
    return nnx.Conv(
        convolution.in_channels,
        convolution.out_channels,
        (convolution.kernel, convolution.kernel),
        strides=convolution.stride,
        padding=convolution.padding,
        feature_group_count=convolution.groups,
        use_bias=convolution.bias,
        conv_general_dilated=convolve,
        kernel_init=nnx.initializers.variance_scaling(2, "fan_out", "normal"),
        **options,
    )


def batch_norm(
    convolution: se_spec.Convolution, epsilon: float, *, zero: bool = False, **options: Any
) -> Callable[[Array], Array]:
    """Batch normalisation after a convolution, or the identity where that is folded; `zero` starts its gain at zero."""
    convolution.expect_gain(zero)
    if convolution.folded:
        return identity
    return BatchNorm(
        convolution.out_channels,
        epsilon=epsilon,
        momentum=1 - se_spec.BATCH_NORM_MOMENTUM,
        scale_init=nnx.initializers.zeros if zero else nnx.initializers.ones,
        use_fast_variance=False,
        **options,
    )


def max_pool(pool: se_spec.MaxPool | None) -> Callable[[Array], Array]:
    """The stem's pool, padded with minus infinity; the identity where the stem has none."""
    return MaxPool(pool) if pool else identity


def average_pool(pool: se_spec.AveragePool | None) -> Callable[[Array], Array]:
    """The mean before a shortcut's projection, at an odd end of what is there; the identity where there is none."""
    if not pool:
        return identity
    sides = {"window_shape": (pool.kernel,) * 2, "strides": (pool.stride,) * 2}
    return partial(nnx.avg_pool, **sides, padding="SAME", count_include_pad=False)


def activation(block: Block) -> Callable[[Array], Array]:
    """The ReLU before the squeeze of a network that was trained with one; else the identity."""
    return nnx.relu if block.relu_before_se else identity


def squeeze_excitation(block: Block, **options: Any) -> Callable[[Array], Array]:
    """The block's SE layer; the identity where the network has none."""
    if not block.has_se:
        return identity
    return SELayer(block.out_channels, bias=block.se_bias, squeezed=block.squeezed_channels, **options)


def shortcut(block: Block, **options: Any) -> nnx.List:
    """The layers of the shortcut: a projection and its norm, or none."""
    if not block.projection:
        return nnx.List([])
    return nnx.List([convolution(block.projection, **options), batch_norm(block.projection, block.epsilon, **options)])


def classifier(architecture: Architecture, **options: Any) -> Callable[[Array], Array]:
    """The fully connected layer that gives the logits; the identity where the network has no classes."""
    if not architecture.num_classes:
        return identity
    return dense(architecture.features, architecture.num_classes, bias=True, **options)


def dropout(architecture: Architecture, rngs: nnx.Rngs) -> Callable[[Array], Array]:
    """What training drops before the classifier; the identity where it drops nothing, and needs no random numbers."""
    return nnx.Dropout(architecture.dropout, rngs=rngs) if architecture.dropout else identity


def identity(x: Array) -> Array:
    return x
