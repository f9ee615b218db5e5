"""SE-DenseNet: dense blocks (arXiv 1608.06993) with SE layers (arXiv 1709.01507), in PyTorch.

Where a gradient or a hook may need what a layer returned, nothing is computed in place.
"""

from contextlib import nullcontext
from typing import Self

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from se_spec import Architecture, DenseLayer, SEDenseNetArchitecture, Transition
from se_torch.layers import (
    average_pool,
    batch_norm,
    can_overwrite,
    convolution,
    identity,
    kept_statistics,
    max_pool,
    norm,
    relu,
)
from se_torch.network import Network, classifier, outputs
from se_torch.se_layer import squeeze_excitation


class SEDenseLayer(nn.Module):
    """Computes new features from all features before it: 1x1 and 3x3 convolutions, and SE.

    Args:
        layer: sizes and settings of the layer.
    """

    __constants__ = ("new_first", "memory_efficient")

    def __init__(self, layer: DenseLayer) -> None:
        super().__init__()
        self.new_first = layer.new_first
        self.memory_efficient = layer.memory_efficient
        self.se_input = squeeze_excitation(layer.se_input)
        self.norm1 = norm(layer.in_channels, layer.epsilon)
        self.conv1 = convolution(layer.conv1)
        self.norm2 = batch_norm(layer.conv1, layer.epsilon)
        self.conv2 = convolution(layer.conv2)
        self.se = squeeze_excitation(layer.se)
        self.dropout = nn.Dropout(layer.drop_rate)
        self.se_concat = squeeze_excitation(layer.se_concat)

    def forward(self, features: list[Tensor]) -> Tensor:
        recomputed = self.memory_efficient and self.training
        new = self.recomputed_bottleneck(features) if recomputed else self.bottleneck(features)
        new = self.conv2(self.relu(self.norm2(new)))
        return self.dropout(self.se(new))

    def bottleneck(self, features: list[Tensor]) -> Tensor:
        """The output of the 1x1 convolution, which has few channels; its inputs have all those before it."""
        x = self.se_input(concatenated(features, self.new_first))
        return self.conv1(self.relu(self.norm1(x)))

    def relu(self, x: Tensor) -> Tensor:
        """ReLU of what a norm returned, in place where nothing else needs that, which saves 8% of a forward pass."""
        if torch.jit.is_scripting():
            return torch.relu(x)
        return functional.relu(x, inplace=type(x) is Tensor and can_overwrite(self.norm1, self.norm2))

    @torch.jit.unused
    def recomputed_bottleneck(self, features: list[Tensor]) -> Tensor:
        """The same without keeping what the backward pass needs, which is computed again then (arXiv 1707.06990)."""
        first = True

        def bottleneck(*features: Tensor) -> Tensor:
            nonlocal first
            updates, first = first, False  # the running statistics are updated once
            with nullcontext() if updates else kept_statistics(self.norm1):
                return self.bottleneck(list(features))

        return checkpoint(bottleneck, *features, use_reentrant=False, preserve_rng_state=False)


class SEDenseBlock(nn.ModuleDict):
    """Layers each of which takes the features of the block's input and of all layers before it.

    Args:
        layers: sizes and settings of each layer, in the order they are applied; none for the identity.
    """

    def __init__(self, layers: list[DenseLayer]) -> None:
        super().__init__()
        self.new_first = any(layer.new_first for layer in layers)
        self.gates_all = any(layer.se_concat for layer in layers)
        for layer in layers:
            self.add_module(f"denselayer{layer.index + 1}", SEDenseLayer(layer))

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.values():
            features.append(layer(features))
            if self.gates_all:
                features = [layer.se_concat(concatenated(features, self.new_first))]
        return concatenated(features, self.new_first)


class SETransition(nn.Module):
    """A 1x1 convolution and a pool that halves height and width, between two dense blocks.

    Args:
        transition: sizes and settings of the transition.
    """

    def __init__(self, transition: Transition) -> None:
        super().__init__()
        self.se = squeeze_excitation(transition.se)
        self.norm = norm(transition.in_channels, transition.epsilon)
        self.conv = convolution(transition.conv)
        self.pool = average_pool(transition.pool)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.conv(torch.relu(self.norm(self.se(x)))))


class SEDenseFeatures(nn.Module):
    """The layers of a network before its classifier.

    Args:
        architecture: the configuration of the network.
    """

    def __init__(self, architecture: SEDenseNetArchitecture) -> None:
        super().__init__()
        self.conv0 = convolution(architecture.conv0)
        self.norm0 = stem_norm(architecture)
        self.relu0 = relu(architecture.stem_norm)
        self.pool0 = max_pool(architecture.max_pool)
        self.se0 = squeeze_excitation(architecture.se_stem)
        self.se_block1 = squeeze_excitation(architecture.se_block(1))
        self.denseblock1 = SEDenseBlock(architecture.block(1))
        self.transition1 = transition(architecture.transition(1))
        self.se_block2 = squeeze_excitation(architecture.se_block(2))
        self.denseblock2 = SEDenseBlock(architecture.block(2))
        self.transition2 = transition(architecture.transition(2))
        self.se_block3 = squeeze_excitation(architecture.se_block(3))
        self.denseblock3 = SEDenseBlock(architecture.block(3))
        self.transition3 = transition(architecture.transition(3))
        self.se_block4 = squeeze_excitation(architecture.se_block(4))
        self.denseblock4 = SEDenseBlock(architecture.block(4))
        self.norm5 = norm(architecture.features, architecture.bn_epsilon)
        self.se5 = squeeze_excitation(architecture.se_last)
        self.relu5 = relu(architecture.final_relu)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        x = self.transition1(self.denseblock1(self.se_block1(x)))
        x = self.transition2(self.denseblock2(self.se_block2(x)))
        x = self.transition3(self.denseblock3(self.se_block3(x)))
        x = self.denseblock4(self.se_block4(x))
        return self.relu5(self.se5(self.norm5(x)))

    def stem(self, images: Tensor) -> Tensor:
        """The features (N, C, H, W) that the first block takes."""
        return self.se0(self.pool0(self.relu0(self.norm0(self.conv0(images)))))


class SEDenseNet(Network):
    """An SE-DenseNet as its architecture describes it: images (N, C, H, W) to logits (N, num_classes).

    Args:
        architecture: the configuration of the network.

    Raises:
        ValueError: when called with images of another rank or channel count.
        TypeError: when called with images of another dtype than the weights'.
    """

    def __init__(self, architecture: SEDenseNetArchitecture) -> None:
        super().__init__(architecture)
        self.features = SEDenseFeatures(architecture)
        self.classifier = classifier(architecture)

    @property
    def architecture(self) -> Architecture:
        """The configuration of the network, with the number of classes that its classifier has now."""
        return self.config.replace(num_classes=outputs(self.classifier))

    def reset_classifier(self, num_classes: int) -> Self:
        """Start a new classifier; the other weights stay.

        Args:
            num_classes: the number of classes; 0 for a network that returns its pooled features.

        Returns:
            The model itself, whose `classifier` is new.
        """
        self.classifier = classifier(self.config.replace(num_classes=num_classes)).to(self.features.conv0.weight)
        return self

    def forward_features(self, images: Tensor) -> Tensor:
        """The features (N, C, H, W) that the head averages over space."""
        if not torch.jit.is_scripting():
            self.expect(images)
        return self.features(images)

    def stage_features(self, images: Tensor) -> dict[str, Tensor]:
        """The features (N, C, H, W) of the stem and of each block; their sizes are `architecture.stage_outputs`."""
        self.expect(images)
        layers = self.features
        features = {"stem": layers.stem(images)}
        x = features["stem"]
        for name, gate, block, after in (
            ("denseblock1", layers.se_block1, layers.denseblock1, layers.transition1),
            ("denseblock2", layers.se_block2, layers.denseblock2, layers.transition2),
            ("denseblock3", layers.se_block3, layers.denseblock3, layers.transition3),
            ("denseblock4", layers.se_block4, layers.denseblock4, identity()),
        ):
            if name in self.config.stage_outputs:
                features[name] = block(gate(x))
                x = after(features[name])
        return features

    def head(self, x: Tensor) -> Tensor:
        """The logits, from the features averaged over space; without classes, those averages."""
        return self.classifier(x.mean(dim=(2, 3)))


def stem_norm(architecture: SEDenseNetArchitecture) -> nn.Module:
    """The norm after the convolution of the stem; the identity where the network has none.

    Args:
        architecture: the configuration of the network.
    """
    if not architecture.stem_norm:
        return identity()
    return batch_norm(architecture.conv0, architecture.bn_epsilon)


def concatenated(features: list[Tensor], new_first: bool) -> Tensor:
    """Features along their channels, in the order in which they were computed or in the reverse one.

    Args:
        features: each (N, C, H, W).
        new_first: whether those that were computed last come first.
    """
    if len(features) == 1:
        return features[0]
    return torch.cat(features[::-1] if new_first else features, dim=1)


def transition(transition: Transition | None) -> nn.Module:
    """The transition after a block; the identity where no block follows.

    Args:
        transition: sizes and settings of the transition; None for the identity.
    """
    return SETransition(transition) if transition else identity()
