"""SE-DenseNet: dense blocks (arXiv 1608.06993) with SE layers (arXiv 1709.01507), in Keras 3."""

from typing import Any

import keras
from keras import KerasTensor, ops

from se_spec import DenseLayer, SEDenseNetArchitecture, Transition
from se_tf.dense_part import DensePart
from se_tf.layers import average_pool, batch_norm, convolution, identity, max_pool, norm, relu
from se_tf.network import Network, classifier
from se_tf.part import Shape
from se_tf.se_layer import squeeze_excitation


@keras.saving.register_keras_serializable("se_tf")
class SEDenseLayer(DensePart):
    """Computes new features from all features before it: 1x1 and 3x3 convolutions, and SE.

    Args:
        layer: sizes and settings of the layer.
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.
    """

    sizes_class = DenseLayer

    def __init__(self, layer: DenseLayer, **kwargs: Any) -> None:
        super().__init__(layer, **kwargs)
        dtype = self.dtype_policy
        self.out_channels = layer.out_channels
        self.new_first = layer.new_first
        self.memory_efficient = layer.memory_efficient
        self.se_input = squeeze_excitation(layer.se_input, name="se_input", dtype=dtype)
        self.norm1 = norm(layer.in_channels, layer.epsilon, name="norm1", dtype=dtype)
        self.conv1 = convolution(layer.conv1, name="conv1", dtype=dtype)
        self.norm2 = batch_norm(layer.conv1, layer.epsilon, name="norm2", dtype=dtype)
        self.conv2 = convolution(layer.conv2, name="conv2", dtype=dtype)
        self.se = squeeze_excitation(layer.se, name="se", dtype=dtype)
        self.dropout = keras.layers.Dropout(layer.drop_rate, name="dropout", dtype=dtype)
        self.se_concat = squeeze_excitation(layer.se_concat, name="se_concat", dtype=dtype)

    def build(self, shape: Shape | list[Shape]) -> None:
        super().build(shape)
        self.se_concat.build((None, None, None, self.out_channels))  # which the block calls

    def call(self, features: list[KerasTensor], training: bool | None = None) -> KerasTensor:
        recomputed = self.memory_efficient and training
        new = self.recomputed_bottleneck(features) if recomputed else self.bottleneck(features, training)
        new = self.conv2(ops.relu(self.norm2(new)))
        return self.dropout(self.se(new))

    def bottleneck(self, features: list[KerasTensor], training: bool | None) -> KerasTensor:
        """The output of the 1x1 convolution, which has few channels; its inputs have all those before it."""
        x = self.se_input(concatenated(features, self.new_first))
        return self.conv1(ops.relu(self.norm1(x, training=training)))

    def recomputed_bottleneck(self, features: list[KerasTensor]) -> KerasTensor:
        """The same without keeping what the backward pass needs, which is computed again then (arXiv 1707.06990)."""
        first = True

        def bottleneck(*features: KerasTensor) -> KerasTensor:
            nonlocal first
            self.norm1.updates_statistics, first = first, False  # the running statistics are updated once
            try:
                return self.bottleneck(list(features), training=True)
            finally:
                self.norm1.updates_statistics = True

        return keras.remat(bottleneck)(*features)


@keras.saving.register_keras_serializable("se_tf")
class SEDenseBlock(DensePart):
    """Layers each of which takes the features of the block's input and of all layers before it.

    Args:
        layers: sizes and settings of each layer, in the order they are applied; none for the identity.
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.
    """

    sizes_class = DenseLayer

    def __init__(self, layers: list[DenseLayer], **kwargs: Any) -> None:
        super().__init__(layers, **kwargs)
        self.names = tuple(f"denselayer{layer.index + 1}" for layer in layers)
        self.new_first = any(layer.new_first for layer in layers)
        self.gates_all = any(layer.se_concat for layer in layers)
        for name, layer in zip(self.names, layers, strict=True):
            setattr(self, name, SEDenseLayer(layer, name=name, dtype=self.dtype_policy))

    def call(self, x: KerasTensor, training: bool | None = None) -> KerasTensor:
        features = [x]
        for layer in (getattr(self, name) for name in self.names):
            features.append(layer(features))
            if self.gates_all:
                features = [layer.se_concat(concatenated(features, self.new_first))]
        return concatenated(features, self.new_first)


@keras.saving.register_keras_serializable("se_tf")
class SETransition(DensePart):
    """A 1x1 convolution and a pool that halves height and width, between two dense blocks.

    Args:
        transition: sizes and settings of the transition.
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.
    """

    sizes_class = Transition

    def __init__(self, transition: Transition, **kwargs: Any) -> None:
        super().__init__(transition, **kwargs)
        dtype = self.dtype_policy
        self.se = squeeze_excitation(transition.se, name="se", dtype=dtype)
        self.norm = norm(transition.in_channels, transition.epsilon, name="norm", dtype=dtype)
        self.conv = convolution(transition.conv, name="conv", dtype=dtype)
        self.pool = average_pool(transition.pool, name="pool", dtype=dtype)

    def call(self, x: KerasTensor, training: bool | None = None) -> KerasTensor:
        return self.pool(self.conv(ops.relu(self.norm(self.se(x)))))


class SEDenseFeatures:
    """The layers of a network before its classifier.

    They become layers of a functional model where it is called.

    Args:
        architecture: the configuration of the network.
        dtype: dtype policy of all layers.
    """

    def __init__(self, architecture: SEDenseNetArchitecture, dtype: Any) -> None:

        def named(name: str) -> dict[str, Any]:
            return {"name": f"features_{name}", "dtype": dtype}

        self.conv0 = convolution(architecture.conv0, **named("conv0"))
        self.norm0 = stem_norm(architecture, **named("norm0"))
        self.relu0 = relu(architecture.stem_norm, **named("relu0"))
        self.pool0 = max_pool(architecture.max_pool, **named("pool0"))
        self.se0 = squeeze_excitation(architecture.se_stem, **named("se0"))
        self.se_block1 = squeeze_excitation(architecture.se_block(1), **named("se_block1"))
        self.denseblock1 = SEDenseBlock(architecture.block(1), **named("denseblock1"))
        self.transition1 = transition(architecture.transition(1), **named("transition1"))
        self.se_block2 = squeeze_excitation(architecture.se_block(2), **named("se_block2"))
        self.denseblock2 = SEDenseBlock(architecture.block(2), **named("denseblock2"))
        self.transition2 = transition(architecture.transition(2), **named("transition2"))
        self.se_block3 = squeeze_excitation(architecture.se_block(3), **named("se_block3"))
        self.denseblock3 = SEDenseBlock(architecture.block(3), **named("denseblock3"))
        self.transition3 = transition(architecture.transition(3), **named("transition3"))
        self.se_block4 = squeeze_excitation(architecture.se_block(4), **named("se_block4"))
        self.denseblock4 = SEDenseBlock(architecture.block(4), **named("denseblock4"))
        self.norm5 = norm(architecture.features, architecture.bn_epsilon, **named("norm5"))
        self.se5 = squeeze_excitation(architecture.se_last, **named("se5"))
        self.relu5 = relu(architecture.final_relu, **named("relu5"))

    def __call__(self, images: KerasTensor) -> KerasTensor:
        x = self.stem(images)
        x = self.transition1(self.denseblock1(self.se_block1(x)))
        x = self.transition2(self.denseblock2(self.se_block2(x)))
        x = self.transition3(self.denseblock3(self.se_block3(x)))
        x = self.denseblock4(self.se_block4(x))
        return self.relu5(self.se5(self.norm5(x)))

    def stem(self, images: KerasTensor) -> KerasTensor:
        """The features (N, H, W, C) that the first block takes."""
        return self.se0(self.pool0(self.relu0(self.norm0(self.conv0(images)))))


@keras.saving.register_keras_serializable("se_tf")
class SEDenseNet(Network):
    """An SE-DenseNet as its architecture describes it: images (N, H, W, C) to logits (N, num_classes).

    A functional model: `summary()` lists its blocks, and `keras.Model(model.inputs,
    model.get_layer("features_denseblock3").output)` gives the features after any of them.

    Args:
        architecture: the configuration of the network.
        dtype: dtype or dtype policy of all layers; Keras's own by default.
        name: name of the model; the architecture's by default.

    Raises:
        ValueError: when called with images of another rank or channel count.
        TypeError: when called with images that are not floating-point.
    """

    def __init__(self, architecture: SEDenseNetArchitecture, *, dtype: Any = None, name: str | None = None) -> None:
        dtype = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        images = keras.Input((None, None, architecture.in_channels), dtype=dtype.variable_dtype, name="images")
        features = SEDenseFeatures(architecture, dtype)
        x = features(images)
        x = keras.layers.GlobalAveragePooling2D(data_format="channels_last", name="pool", dtype=dtype)(x)
        head = classifier(architecture, name="classifier", dtype=dtype)
        super().__init__(architecture, images, head(x), dtype=dtype, name=name)

        self.features = features
        self.classifier = head

    def stage_features(self, images: KerasTensor) -> dict[str, KerasTensor]:
        """The features (N, H, W, C) of the stem and of each block; their sizes are `architecture.stage_outputs`."""
        outputs = {"stem": self.features.se0.output}
        for name, block in (
            ("denseblock1", self.features.denseblock1),
            ("denseblock2", self.features.denseblock2),
            ("denseblock3", self.features.denseblock3),
            ("denseblock4", self.features.denseblock4),
        ):
            if name in self.config.stage_outputs:
                outputs[name] = block.output
        return keras.Model(self.inputs[0], outputs)(images)


def stem_norm(architecture: SEDenseNetArchitecture, **kwargs: Any) -> keras.layers.Layer:
    """The norm after the convolution of the stem; the identity where the network has none.

    Args:
        architecture: the configuration of the network.
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.
    """
    if not architecture.stem_norm:
        return identity(**kwargs)
    return batch_norm(architecture.conv0, architecture.bn_epsilon, **kwargs)


def concatenated(features: list[KerasTensor], new_first: bool) -> KerasTensor:
    """Features along their channels, in the order in which they were computed or in the reverse one.

    Args:
        features: each (N, H, W, C).
        new_first: whether those that were computed last come first.
    """
    if len(features) == 1:
        return features[0]
    return ops.concatenate(features[::-1] if new_first else features, axis=-1)


def transition(transition: Transition | None, **kwargs: Any) -> keras.layers.Layer:
    """The transition after a block; the identity where no block follows.

    Args:
        transition: sizes and settings of the transition; None for the identity.
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.
    """
    return SETransition(transition, **kwargs) if transition else identity(**kwargs)
