"""SE-DenseNet: dense blocks (arXiv 1608.06993) with SE layers (arXiv 1709.01507), in Flax NNX."""

from collections.abc import Callable
from typing import Any, Self

import jax.numpy as jnp
from flax import nnx
from jax import Array

from se_flax.layers import average_pool, batch_norm, convolution, dropout, identity, max_pool, norm, relu
from se_flax.network import Network, classifier, outputs
from se_flax.se_layer import squeeze_excitation
from se_spec import Architecture, DenseLayer, SEDenseNetArchitecture, Transition


class SEDenseLayer(nnx.Module):
    """Computes new features from all features before it: 1x1 and 3x3 convolutions, and SE.

    Args:
        layer: sizes and settings of the layer.
        **options: `dtype`, `param_dtype` and `rngs`, as the networks take them.
    """

    def __init__(self, layer: DenseLayer, **options: Any) -> None:
        self.new_first = layer.new_first
        self.memory_efficient = layer.memory_efficient
        self.se_input = squeeze_excitation(layer.se_input, **options)
        self.norm1 = norm(layer.in_channels, layer.epsilon, **options)
        self.conv1 = convolution(layer.conv1, **options)
        self.norm2 = batch_norm(layer.conv1, layer.epsilon, **options)
        self.conv2 = convolution(layer.conv2, **options)
        self.se = squeeze_excitation(layer.se, **options)
        self.dropout = dropout(layer.drop_rate, **options)
        self.se_concat = squeeze_excitation(layer.se_concat, **options)

    def __call__(self, features: list[Array]) -> Array:
        recomputed = self.memory_efficient and not self.norm1.use_running_average
        new = self.recomputed_bottleneck(features) if recomputed else self.bottleneck(features)
        new = self.conv2(nnx.relu(self.norm2(new)))
        return self.dropout(self.se(new))

    def bottleneck(self, features: list[Array]) -> Array:
        """The output of the 1x1 convolution, which has few channels; its inputs have all those before it."""
        x = self.se_input(concatenated(features, self.new_first))
        return self.conv1(nnx.relu(self.norm1(x)))

    def recomputed_bottleneck(self, features: list[Array]) -> Array:
        """The same without keeping what the backward pass needs, which is computed again then (arXiv 1707.06990)."""
        return nnx.remat(SEDenseLayer.bottleneck)(self, features)


class SEDenseBlock(nnx.Module):
    """Layers each of which takes the features of the block's input and of all layers before it.

    Args:
        layers: sizes and settings of each layer, in the order they are applied; none for the identity.
        **options: `dtype`, `param_dtype` and `rngs`, as the networks take them.
    """

    def __init__(self, layers: list[DenseLayer], **options: Any) -> None:
        self.names = tuple(f"denselayer{layer.index + 1}" for layer in layers)
        self.new_first = any(layer.new_first for layer in layers)
        self.gates_all = any(layer.se_concat for layer in layers)
        for name, layer in zip(self.names, layers, strict=True):
            setattr(self, name, SEDenseLayer(layer, **options))

    def __call__(self, x: Array) -> Array:
        features = [x]
        for layer in (getattr(self, name) for name in self.names):
            features.append(layer(features))
            if self.gates_all:
                features = [layer.se_concat(concatenated(features, self.new_first))]
        return concatenated(features, self.new_first)


class SETransition(nnx.Module):
    """A 1x1 convolution and a pool that halves height and width, between two dense blocks.

    Args:
        transition: sizes and settings of the transition.
        **options: `dtype`, `param_dtype` and `rngs`, as the networks take them.
    """

    def __init__(self, transition: Transition, **options: Any) -> None:
        self.se = squeeze_excitation(transition.se, **options)
        self.norm = norm(transition.in_channels, transition.epsilon, **options)
        self.conv = convolution(transition.conv, **options)
        self.pool = average_pool(transition.pool)

    def __call__(self, x: Array) -> Array:
        return self.pool(self.conv(nnx.relu(self.norm(self.se(x)))))


class SEDenseFeatures(nnx.Module):
    """The layers of a network before its classifier.

    Args:
        architecture: the configuration of the network.
        **options: `dtype`, `param_dtype` and `rngs`, as the networks take them.
    """

    def __init__(self, architecture: SEDenseNetArchitecture, **options: Any) -> None:
        self.conv0 = convolution(architecture.conv0, **options)
        self.norm0 = stem_norm(architecture, **options)
        self.relu0 = relu(architecture.stem_norm)
        self.pool0 = max_pool(architecture.max_pool)
        self.se0 = squeeze_excitation(architecture.se_stem, **options)
        self.se_block1 = squeeze_excitation(architecture.se_block(1), **options)
        self.denseblock1 = SEDenseBlock(architecture.block(1), **options)
        self.transition1 = transition(architecture.transition(1), **options)
        self.se_block2 = squeeze_excitation(architecture.se_block(2), **options)
        self.denseblock2 = SEDenseBlock(architecture.block(2), **options)
        self.transition2 = transition(architecture.transition(2), **options)
        self.se_block3 = squeeze_excitation(architecture.se_block(3), **options)
        self.denseblock3 = SEDenseBlock(architecture.block(3), **options)
        self.transition3 = transition(architecture.transition(3), **options)
        self.se_block4 = squeeze_excitation(architecture.se_block(4), **options)
        self.denseblock4 = SEDenseBlock(architecture.block(4), **options)
        self.norm5 = norm(architecture.features, architecture.bn_epsilon, **options)
        self.se5 = squeeze_excitation(architecture.se_last, **options)
        self.relu5 = relu(architecture.final_relu)

    def __call__(self, images: Array) -> Array:
        x = self.stem(images)
        x = self.transition1(self.denseblock1(self.se_block1(x)))
        x = self.transition2(self.denseblock2(self.se_block2(x)))
        x = self.transition3(self.denseblock3(self.se_block3(x)))
        x = self.denseblock4(self.se_block4(x))
        return self.relu5(self.se5(self.norm5(x)))

    def stem(self, images: Array) -> Array:
        """The features (N, H, W, C) that the first block takes."""
        return self.se0(self.pool0(self.relu0(self.norm0(self.conv0(images)))))


class SEDenseNet(Network):
    """An SE-DenseNet as its architecture describes it: images (N, H, W, C) to logits (N, num_classes).

    Args:
        architecture: the configuration of the network.
        dtype: dtype of the computation; that of images and weights by default.
        param_dtype: dtype of the weights and of the running statistics.
        rngs: random numbers of the initial weights and of dropout.

    Raises:
        ValueError: when called with images of another rank or channel count.
        TypeError: when called with images that are not floating-point.
    """

    def __init__(
        self,
        architecture: SEDenseNetArchitecture,
        *,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        options = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        super().__init__(architecture)
        self.features = SEDenseFeatures(architecture, **options)
        self.classifier = classifier(architecture, **options)

    @property
    def architecture(self) -> Architecture:
        """The configuration of the network, with the number of classes that its classifier has now."""
        return self.config.replace(num_classes=outputs(self.classifier))

    def reset_classifier(self, num_classes: int, *, rngs: nnx.Rngs) -> Self:
        """Start a new classifier; the other weights stay.

        Args:
            num_classes: the number of classes; 0 for a network that returns its pooled features.
            rngs: random numbers of the initial weights.

        Returns:
            The model itself, whose `classifier` is new.
        """
        self.classifier = classifier(
            self.config.replace(num_classes=num_classes),
            dtype=self.features.conv0.dtype,
            param_dtype=self.features.conv0.param_dtype,
            rngs=rngs,
        )
        return self

    def forward_features(self, images: Array) -> Array:
        """The features (N, H, W, C) that the head averages over space."""
        self.expect(images)
        return self.features(images)

    def stage_features(self, images: Array) -> dict[str, Array]:
        """The features (N, H, W, C) of the stem and of each block; their sizes are `architecture.stage_outputs`."""
        self.expect(images)
        layers = self.features
        features = {"stem": layers.stem(images)}
        x = features["stem"]
        for name, gate, block, after in (
            ("denseblock1", layers.se_block1, layers.denseblock1, layers.transition1),
            ("denseblock2", layers.se_block2, layers.denseblock2, layers.transition2),
            ("denseblock3", layers.se_block3, layers.denseblock3, layers.transition3),
            ("denseblock4", layers.se_block4, layers.denseblock4, identity),
        ):
            if name in self.config.stage_outputs:
                features[name] = block(gate(x))
                x = after(features[name])
        return features

    def head(self, x: Array) -> Array:
        """The logits, from the features averaged over space; without classes, those averages."""
        return self.classifier(jnp.mean(x, axis=(1, 2)))


def stem_norm(architecture: SEDenseNetArchitecture, **options: Any) -> Callable[[Array], Array]:
    """The norm after the convolution of the stem; the identity where the network has none.

    Args:
        architecture: the configuration of the network.
        **options: `dtype`, `param_dtype` and `rngs`, as the networks take them.
    """
    if not architecture.stem_norm:
        return identity
    return batch_norm(architecture.conv0, architecture.bn_epsilon, **options)


def concatenated(features: list[Array], new_first: bool) -> Array:
    """Features along their channels, in the order in which they were computed or in the reverse one.

    Args:
        features: each (N, H, W, C).
        new_first: whether those that were computed last come first.
    """
    if len(features) == 1:
        return features[0]
    return jnp.concatenate(features[::-1] if new_first else features, axis=-1)


def transition(transition: Transition | None, **options: Any) -> Callable[[Array], Array]:
    """The transition after a block; the identity where no block follows.

    Args:
        transition: sizes and settings of the transition; None for the identity.
        **options: `dtype`, `param_dtype` and `rngs`, as the networks take them.
    """
    return SETransition(transition, **options) if transition else identity
