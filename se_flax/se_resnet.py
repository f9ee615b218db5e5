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
from se_flax.se_layer import SELayer, dense
from se_spec import Architecture, Block, expect_floating, expect_images


class SEBasicBlock(nnx.Module):
    """Two 3x3 convolutions; SE scales the residual before it is added to the shortcut (paper, figure 3)."""

    def __init__(self, block: Block, *, zero_init_residual: bool = False, **options: Any) -> None:
        conv1, conv2 = block.convolutions
        self.conv1 = convolution(conv1, **options)
        self.bn1 = batch_norm(conv1.out_channels, **options)
        self.conv2 = convolution(conv2, **options)
        self.bn2 = batch_norm(conv2.out_channels, zero=zero_init_residual, **options)
        self.se = squeeze_excitation(block, **options)
        self.downsample = shortcut(block, **options)

    def __call__(self, x: Array) -> Array:
        residual = nnx.relu(self.bn1(self.conv1(x)))
        residual = self.se(self.bn2(self.conv2(residual)))
        for layer in self.downsample:
            x = layer(x)
        return nnx.relu(residual + x)


class SEBottleneck(nnx.Module):
    """1x1, 3x3 and 1x1 convolutions; SE scales the residual before it is added to the shortcut (paper, table 1)."""

    def __init__(self, block: Block, *, zero_init_residual: bool = False, **options: Any) -> None:
        conv1, conv2, conv3 = block.convolutions
        self.conv1 = convolution(conv1, **options)
        self.bn1 = batch_norm(conv1.out_channels, **options)
        self.conv2 = convolution(conv2, **options)
        self.bn2 = batch_norm(conv2.out_channels, **options)
        self.conv3 = convolution(conv3, **options)
        self.bn3 = batch_norm(conv3.out_channels, zero=zero_init_residual, **options)
        self.se = squeeze_excitation(block, **options)
        self.downsample = shortcut(block, **options)

    def __call__(self, x: Array) -> Array:
        residual = nnx.relu(self.bn1(self.conv1(x)))
        residual = nnx.relu(self.bn2(self.conv2(residual)))
        residual = self.se(self.bn3(self.conv3(residual)))
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
        self.conv1 = convolution(architecture.conv1, **options)
        self.bn1 = batch_norm(architecture.conv1.out_channels, **options)
        self.maxpool = max_pool(architecture.max_pool)
        for layer, blocks in architecture.stages().items():
            stage = [BLOCKS[block.kind](block, zero_init_residual=zero_init_residual, **options) for block in blocks]
            setattr(self, layer, nnx.List(stage))
        self.fc = dense(architecture.features, architecture.num_classes, bias=True, **options)

    def __call__(self, images: Array) -> Array:
        self.expect(images)
        x = self.stem(images)
        for _, block in self.blocks():
            x = block(x)
        return self.head(x)

    def stem(self, images: Array) -> Array:
        """The features that the first block takes."""
        return self.maxpool(nnx.relu(self.bn1(self.conv1(images))))

    def blocks(self) -> Iterator[tuple[str, nnx.Module]]:
        """The blocks by canonical name, in the order they are applied."""
        for layer in self.architecture.stages():
            for index, block in enumerate(getattr(self, layer)):
                yield f"{layer}.{index}", block

    def head(self, x: Array) -> Array:
        """The logits, from the last block's features averaged over space."""
        return self.fc(jnp.mean(x, axis=(1, 2)))

    def expect(self, images: Array) -> None:
        """Raise unless these are images that the network can take."""
        expect_images(images.shape, "NHWC", self.architecture.in_channels)
        expect_floating("SEResNet", jnp.issubdtype(images.dtype, jnp.floating), images.dtype)


def create_model(
    name: str, *, zero_init_residual: bool = False, rngs: nnx.Rngs | None = None, **facts: Any
) -> SEResNet:
    """The named network, freshly initialised; facts such as num_classes, in_channels, stem, reduction and se_bias
    stand in for the architecture's own. Raises se_spec.ArchitectureError for an impossible one."""
    architecture = se_spec.architecture(name, **facts)
    return SEResNet(architecture, zero_init_residual=zero_init_residual, rngs=rngs or nnx.Rngs(0))


def list_models(pattern: str = "*") -> list[str]:
    """The names that `create_model` knows and that match a shell pattern."""
    return [name for name in se_spec.list_architectures() if fnmatchcase(name, pattern)]


def convolution(convolution: se_spec.Convolution, **options: Any) -> nnx.Conv:
    """A bias-free convolution, padded alike on every side, He-normal by fan-out (arXiv 1502.01852)."""
    return nnx.Conv(
        convolution.in_channels,
        convolution.out_channels,
        (convolution.kernel, convolution.kernel),
        strides=convolution.stride,
        padding=convolution.padding,
        use_bias=False,
        kernel_init=nnx.initializers.variance_scaling(2, "fan_out", "normal"),
        **options,
    )


def batch_norm(channels: int, *, zero: bool = False, **options: Any) -> BatchNorm:
    """Batch normalisation; `zero` starts its gain at zero instead of one."""
    return BatchNorm(
        channels,
        epsilon=se_spec.BATCH_NORM_EPSILON,
        momentum=1 - se_spec.BATCH_NORM_MOMENTUM,
        scale_init=nnx.initializers.zeros if zero else nnx.initializers.ones,
        use_fast_variance=False,
        **options,
    )


def max_pool(pool: se_spec.MaxPool | None) -> Callable[[Array], Array]:
    """The stem's pool, padded with minus infinity; the identity where the stem has none."""
    if not pool:
        return identity
    sides = (pool.kernel, pool.kernel), (pool.stride, pool.stride), ((pool.padding, pool.padding),) * 2
    return partial(nnx.max_pool, window_shape=sides[0], strides=sides[1], padding=sides[2])


def squeeze_excitation(block: Block, **options: Any) -> Callable[[Array], Array]:
    """The block's SE layer; the identity where the network has none."""
    if not block.has_se:
        return identity
    return SELayer(block.out_channels, bias=block.se_bias, squeezed=block.squeezed_channels, **options)


def shortcut(block: Block, **options: Any) -> nnx.List:
    """The layers of the shortcut: a projection and its norm, or none."""
    if not block.projection:
        return nnx.List([])
    return nnx.List([convolution(block.projection, **options), batch_norm(block.out_channels, **options)])


def identity(x: Array) -> Array:
    return x
