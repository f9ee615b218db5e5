"""SE-ResNet (arXiv 1709.01507, section 3.3), in Keras 3."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any, Self

import keras
from keras import KerasTensor, ops

import se_spec
from se_spec import Architecture, Block, expect_floating, expect_images
from se_tf.batch_norm import BatchNorm
from se_tf.padding import Convolution, MaxPool
from se_tf.residual_block import ResidualBlock
from se_tf.se_layer import SELayer, dense


@keras.saving.register_keras_serializable("se_tf")
class SEBasicBlock(ResidualBlock):
    """Two 3x3 convolutions; SE scales the residual before it is added to the shortcut (paper, figure 3)."""

    def __init__(self, block: Block, *, zero_init_residual: bool = False, **kwargs: Any) -> None:
        super().__init__(block, zero_init_residual=zero_init_residual, **kwargs)
        dtype = self.dtype_policy
        conv1, conv2 = block.convolutions
        self.conv1 = convolution(conv1, name="conv1", dtype=dtype)
        self.bn1 = batch_norm(conv1, block.epsilon, name="bn1", dtype=dtype)
        self.conv2 = convolution(conv2, name="conv2", dtype=dtype)
        self.bn2 = batch_norm(conv2, block.epsilon, zero=zero_init_residual, name="bn2", dtype=dtype)
        self.act = activation(block, name="act", dtype=dtype)
        self.se = squeeze_excitation(block, name="se", dtype=dtype)
        self.pool = average_pool(block.pool, name="pool", dtype=dtype)
        self.downsample = shortcut(block, dtype=dtype)

    def call(self, x: KerasTensor, training: bool | None = None) -> KerasTensor:
        residual = ops.relu(self.bn1(self.conv1(x)))
        residual = self.se(self.act(self.bn2(self.conv2(residual))))
        x = self.pool(x)
        for layer in self.downsample:
            x = layer(x)
        return ops.relu(residual + x)


@keras.saving.register_keras_serializable("se_tf")
class SEBottleneck(ResidualBlock):
    """1x1, 3x3 and 1x1 convolutions; SE scales the residual before it is added to the shortcut (paper, table 1)."""

    def __init__(self, block: Block, *, zero_init_residual: bool = False, **kwargs: Any) -> None:
        super().__init__(block, zero_init_residual=zero_init_residual, **kwargs)
        dtype = self.dtype_policy
        conv1, conv2, conv3 = block.convolutions
        self.conv1 = convolution(conv1, name="conv1", dtype=dtype)
        self.bn1 = batch_norm(conv1, block.epsilon, name="bn1", dtype=dtype)
        self.conv2 = convolution(conv2, name="conv2", dtype=dtype)
        self.bn2 = batch_norm(conv2, block.epsilon, name="bn2", dtype=dtype)
        self.conv3 = convolution(conv3, name="conv3", dtype=dtype)
        self.bn3 = batch_norm(conv3, block.epsilon, zero=zero_init_residual, name="bn3", dtype=dtype)
        self.act = activation(block, name="act", dtype=dtype)
        self.se = squeeze_excitation(block, name="se", dtype=dtype)
        self.pool = average_pool(block.pool, name="pool", dtype=dtype)
        self.downsample = shortcut(block, dtype=dtype)

    def call(self, x: KerasTensor, training: bool | None = None) -> KerasTensor:
        residual = ops.relu(self.bn1(self.conv1(x)))
        residual = ops.relu(self.bn2(self.conv2(residual)))
        residual = self.se(self.act(self.bn3(self.conv3(residual))))
        x = self.pool(x)
        for layer in self.downsample:
            x = layer(x)
        return ops.relu(residual + x)


BLOCKS = {"basic": SEBasicBlock, "bottleneck": SEBottleneck}


@keras.saving.register_keras_serializable("se_tf")
class SEResNet(keras.Model):
    """A network as its architecture describes it: images (N, H, W, C) to logits (N, num_classes).

    A functional model, so that `summary()` tells it and `keras.Model(model.inputs, model.get_layer("layer3_0").output)`
    gives the features at any block. `zero_init_residual` starts every residual branch at zero (arXiv 1706.02677,
    section 5.1). Raises ValueError for images of another rank or channel count, and TypeError for whole numbers.
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        zero_init_residual: bool = False,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        dtype = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        stem = {}
        for number, conv in enumerate(architecture.stem_convolutions, start=1):
            stem[f"conv{number}"] = convolution(conv, name=f"conv{number}", dtype=dtype)
            stem[f"bn{number}"] = batch_norm(conv, architecture.bn_epsilon, name=f"bn{number}", dtype=dtype)
            stem[f"relu{number}"] = keras.layers.ReLU(name=f"relu{number}", dtype=dtype)
        maxpool = max_pool(architecture.max_pool, name="maxpool", dtype=dtype)
        stages = {}
        for layer, blocks in architecture.stages().items():
            stages[layer] = [
                BLOCKS[block.kind](
                    block, zero_init_residual=zero_init_residual, name=f"{layer}_{block.index}", dtype=dtype
                )
                for block in blocks
            ]
        dropout = keras.layers.Dropout(architecture.dropout, name="dropout", dtype=dtype)
        fc = classifier(architecture, name="fc", dtype=dtype)

        images = keras.Input((None, None, architecture.in_channels), dtype=dtype.variable_dtype, name="images")
        x = images
        for layer in stem.values():
            x = layer(x)
        x = maxpool(x)
        for stage in stages.values():
            for block in stage:
                x = block(x)
        pooled = keras.layers.GlobalAveragePooling2D(data_format="channels_last", name="pool", dtype=dtype)(x)
        super().__init__(images, fc(dropout(pooled)), name=name or architecture.name)

        self.architecture = architecture
        self.zero_init_residual = zero_init_residual
        self.dtype_policy = dtype
        for name, layer in stem.items():
            setattr(self, name, layer)
        self.maxpool = maxpool
        for name, stage in stages.items():
            setattr(self, name, stage)
        self.dropout = dropout
        self.fc = fc

    def __call__(self, images: KerasTensor, *args: Any, **kwargs: Any) -> KerasTensor:
        self.expect(images)
        return super().__call__(images, *args, **kwargs)

    def blocks(self) -> Iterator[tuple[str, keras.layers.Layer]]:
        """The blocks by canonical name, in the order they are applied."""
        for layer in self.architecture.stages():
            for index, block in enumerate(getattr(self, layer)):
                yield f"{layer}.{index}", block

    def expect(self, images: KerasTensor) -> None:
        """Raise unless these are images that the network can take."""
        expect_images(images.shape, "NHWC", self.architecture.in_channels, self.architecture.smallest_side)
        expect_floating("SEResNet", keras.backend.is_float_dtype(images.dtype), images.dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            "architecture": self.architecture.to_dict(),
            "zero_init_residual": self.zero_init_residual,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        return cls(**{**config, "architecture": Architecture.from_dict(config["architecture"])})


def create_model(name: str, *, zero_init_residual: bool = False, **config: Any) -> SEResNet:
    """The named network, freshly initialised; facts such as num_classes, in_channels, stem, reduction and se_bias
    stand in for the architecture's own. Raises se_spec.ArchitectureError for an impossible one."""
    return SEResNet(se_spec.architecture(name, **config), zero_init_residual=zero_init_residual)


def list_models(pattern: str = "*") -> list[str]:
    """The names that `create_model` knows and that match a shell pattern."""
    return [name for name in se_spec.list_architectures() if fnmatchcase(name, pattern)]


def convolution(convolution: se_spec.Convolution, **kwargs: Any) -> Convolution:
    """A convolution, padded alike on every side, He-normal by fan-out (arXiv 1502.01852); biases begin at zero."""
    return Convolution(
        convolution.out_channels,
        convolution.kernel,
        strides=convolution.stride,
        padding="same" if convolution.stride == 1 else "valid",
        groups=convolution.groups,
        use_bias=convolution.bias,
        kernel_initializer=keras.initializers.VarianceScaling(2, mode="fan_out", distribution="untruncated_normal"),
        data_format="channels_last",
        **kwargs,
    )


def batch_norm(
    convolution: se_spec.Convolution, epsilon: float, *, zero: bool = False, **kwargs: Any
) -> keras.layers.Layer:
    """Batch normalisation after a convolution, or the identity where that is folded; `zero` starts its gain at zero."""
    convolution.expect_gain(zero)
    if convolution.folded:
        return identity(**kwargs)
    return BatchNorm(
        epsilon=epsilon,
        momentum=1 - se_spec.BATCH_NORM_MOMENTUM,
        gamma_initializer="zeros" if zero else "ones",
        **kwargs,
    )


def max_pool(pool: se_spec.MaxPool | None, **kwargs: Any) -> keras.layers.Layer:
    """The stem's pool, padded with minus infinity; the identity where the stem has none."""
    if not pool:
        return identity(**kwargs)
    return MaxPool(pool.alignment, **kwargs)


def average_pool(pool: se_spec.AveragePool | None, **kwargs: Any) -> keras.layers.Layer:
    """The mean before a shortcut's projection, at an odd end of what is there; the identity where there is none."""
    if not pool:
        return identity(**kwargs)
    return keras.layers.AveragePooling2D(
        pool.kernel, pool.stride, padding="same", data_format="channels_last", **kwargs
    )


def activation(block: Block, **kwargs: Any) -> keras.layers.Layer:
    """The ReLU before the squeeze of a network that was trained with one; else the identity."""
    return keras.layers.ReLU(**kwargs) if block.relu_before_se else identity(**kwargs)


def squeeze_excitation(block: Block, **kwargs: Any) -> keras.layers.Layer:
    """The block's SE layer; the identity where the network has none."""
    if not block.has_se:
        return identity(**kwargs)
    return SELayer(block.out_channels, bias=block.se_bias, squeezed=block.squeezed_channels, **kwargs)


def shortcut(block: Block, **kwargs: Any) -> list[keras.layers.Layer]:
    """The layers of the shortcut: a projection and its norm, or none."""
    if not block.projection:
        return []
    return [
        convolution(block.projection, name="downsample_0", **kwargs),
        batch_norm(block.projection, block.epsilon, name="downsample_1", **kwargs),
    ]


def classifier(architecture: Architecture, **kwargs: Any) -> keras.layers.Layer:
    """The fully connected layer that gives the logits; the identity where the network has no classes."""
    if not architecture.num_classes:
        return identity(**kwargs)
    return dense(architecture.features, architecture.num_classes, bias=True, **kwargs)


def identity(**kwargs: Any) -> keras.layers.Layer:
    """What takes nothing away. Keras's own Identity cannot be cloned once it has been given a dtype policy."""
    return keras.layers.Activation("linear", **kwargs)
