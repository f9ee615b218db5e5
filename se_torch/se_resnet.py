"""SE-ResNet (arXiv 1709.01507, section 3.3), in PyTorch.

Nothing is computed in place, so that hooks see what each layer returned and full backward hooks work.
"""

from typing import Self

import torch
from torch import Tensor, nn

from se_spec import Architecture, Block, SEResNetArchitecture
from se_torch.layers import (
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
from se_torch.network import Network, classifier, outputs
from se_torch.preactivation import SEPreActBasicBlock, SEPreActBottleneck
from se_torch.se_layer import squeeze_excitation
from se_torch.shortcut import shortcut


class SEBasicBlock(nn.Module):
    """Two 3x3 convolutions; SE scales the residual before it is added to the shortcut (paper, figure 3).

    Args:
        block: sizes and settings of the block.
        zero_init_residual: start the gain of the last norm at zero, so that the block starts as its shortcut.
    """

    def __init__(self, block: Block, *, zero_init_residual: bool = False) -> None:
        super().__init__()
        block.check_zero_init(zero_init_residual)
        self.shared_norm = block.shared_norm
        conv1, conv2 = block.convolutions
        self.conv1 = convolution(conv1)
        self.bn1 = batch_norm(conv1, block.epsilon)
        self.aa = antialias(block.aa)
        self.conv2 = convolution(conv2)
        self.bn2 = identity() if block.shared_norm else batch_norm(conv2, block.epsilon, zero_init=zero_init_residual)
        self.act = relu(block.relu_before_se)
        self.se = squeeze_excitation(block.se)
        self.drop_path = drop_path(block.drop_path)
        self.pool = average_pool(block.pool)
        self.downsample = shortcut(block)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.aa(torch.relu(self.bn1(self.conv1(x))))
        residual = self.conv2(residual)
        residual = self.bn1(residual) if self.shared_norm else self.bn2(residual)
        residual = self.drop_path(self.se(self.act(residual)))
        return torch.relu(residual + self.downsample(self.pool(x)))


class SEBottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions; SE scales the residual before it is added to the shortcut (paper, table 1).

    Args:
        block: sizes and settings of the block.
        zero_init_residual: start the gain of the last norm at zero, so that the block starts as its shortcut.
    """

    def __init__(self, block: Block, *, zero_init_residual: bool = False) -> None:
        super().__init__()
        self.shared_norm = block.shared_norm
        conv1, conv2, conv3 = block.convolutions
        self.conv1 = convolution(conv1)
        self.bn1 = batch_norm(conv1, block.epsilon)
        self.conv2 = convolution(conv2)
        self.bn2 = identity() if block.shared_norm else batch_norm(conv2, block.epsilon)
        self.aa = antialias(block.aa)
        self.conv3 = convolution(conv3)
        self.bn3 = batch_norm(conv3, block.epsilon, zero_init=zero_init_residual)
        self.act = relu(block.relu_before_se)
        self.se = squeeze_excitation(block.se)
        self.drop_path = drop_path(block.drop_path)
        self.pool = average_pool(block.pool)
        self.downsample = shortcut(block)

    def forward(self, x: Tensor) -> Tensor:
        residual = torch.relu(self.bn1(self.conv1(x)))
        residual = self.conv2(residual)
        residual = self.bn1(residual) if self.shared_norm else self.bn2(residual)
        residual = self.aa(torch.relu(residual))
        residual = self.drop_path(self.se(self.act(self.bn3(self.conv3(residual)))))
        return torch.relu(residual + self.downsample(self.pool(x)))


BLOCKS = {
    ("post", "basic"): SEBasicBlock,
    ("post", "bottleneck"): SEBottleneck,
    ("pre", "basic"): SEPreActBasicBlock,
    ("pre", "bottleneck"): SEPreActBottleneck,
}
"""The class of a block by its order and its kind."""


class SEResNet(Network):
    """An SE-ResNet as its architecture describes it: images (N, C, H, W) to logits (N, num_classes).

    Args:
        architecture: the configuration of the network.
        zero_init_residual: start the residual branch of every block at zero (arXiv 1706.02677, section 5.1).

    Raises:
        ValueError: when called with images of another rank or channel count.
        TypeError: when called with images of another dtype than the weights'.
    """

    # TorchScript leaves out branches that a constant decides.
    __constants__ = ("deep_stem", "strided_stem")

    def __init__(self, architecture: SEResNetArchitecture, *, zero_init_residual: bool = False) -> None:
        super().__init__(architecture)
        conv1, *deep_stem = architecture.stem_convolutions
        self.deep_stem = len(deep_stem) >= 2
        self.strided_stem = len(deep_stem) == 3
        self.bn0 = optional_norm(architecture.bn0)
        self.conv1 = convolution(conv1)
        self.bn1 = batch_norm(conv1, architecture.bn_epsilon) if architecture.stem.norm else identity()
        self.relu1 = relu(architecture.stem.norm)
        if self.deep_stem:
            conv2, conv3 = deep_stem[:2]
            self.conv2 = convolution(conv2)
            self.bn2 = batch_norm(conv2, architecture.bn_epsilon)
            self.conv3 = convolution(conv3)
            self.bn3 = batch_norm(conv3, architecture.bn_epsilon)
        if self.strided_stem:
            conv4 = deep_stem[2]
            self.conv4 = convolution(conv4)
            self.bn4 = batch_norm(conv4, architecture.bn_epsilon)
        self.maxpool = max_pool(architecture.max_pool)
        self.aa = antialias(architecture.aa)
        self.layer1 = stage(architecture.stage(1), zero_init_residual)
        self.layer2 = stage(architecture.stage(2), zero_init_residual)
        self.layer3 = stage(architecture.stage(3), zero_init_residual)
        self.layer4 = stage(architecture.stage(4), zero_init_residual)
        self.norm = optional_norm(architecture.norm)
        self.relu = relu(architecture.norm is not None)
        self.dropout = nn.Dropout(architecture.dropout)
        self.fc = classifier(architecture)

    @property
    def architecture(self) -> Architecture:
        """The configuration of the network, with the number of classes that its classifier `fc` has now."""
        return self.config.replace(num_classes=outputs(self.fc))

    def reset_classifier(self, num_classes: int) -> Self:
        """Start a new classifier; the other weights stay.

        Args:
            num_classes: the number of classes; 0 for a network that returns its pooled features.

        Returns:
            The model itself, whose `fc` is new.
        """
        self.fc = classifier(self.config.replace(num_classes=num_classes)).to(self.conv1.weight)
        return self

    def forward_features(self, images: Tensor) -> Tensor:
        """The features (N, C, H, W) after the last stage, which the head averages over space."""
        if not torch.jit.is_scripting():
            self.expect(images)
        x = self.stem(images)
        x = self.layer1(x)
        x = self.layer2(x)
        x = self.layer3(x)
        x = self.layer4(x)
        return self.relu(self.norm(x))

    def stage_features(self, images: Tensor) -> dict[str, Tensor]:
        """The features (N, C, H, W) of the stem and of each stage; their sizes are `architecture.stage_outputs`."""
        self.expect(images)
        features = {"stem": self.stem(images)}
        x = features["stem"]
        for name, stage in (
            ("layer1", self.layer1),
            ("layer2", self.layer2),
            ("layer3", self.layer3),
            ("layer4", self.layer4),
        ):
            if name in self.config.stage_outputs:
                x = features[name] = stage(x)
        return features

    def stem(self, images: Tensor) -> Tensor:
        """The features (N, C, H, W) that the first block takes."""
        x = self.relu1(self.bn1(self.conv1(self.bn0(images))))
        if self.deep_stem:
            x = torch.relu(self.bn2(self.conv2(x)))
            x = torch.relu(self.bn3(self.conv3(x)))
        if self.strided_stem:
            x = torch.relu(self.bn4(self.conv4(x)))
        return self.aa(self.maxpool(x))

    def head(self, x: Tensor) -> Tensor:
        """The logits, from the last block's features averaged over space; without classes, those features."""
        return self.fc(self.dropout(x.mean(dim=(2, 3))))


def stage(blocks: list[Block], zero_init_residual: bool) -> nn.Sequential:
    """The blocks of one stage; none where the network does not have the stage.

    Args:
        blocks: sizes and settings of each block, in the order they are applied.
        zero_init_residual: start the gain of each block's last norm at zero.
    """
    return nn.Sequential(
        *(BLOCKS[block.order, block.kind](block, zero_init_residual=zero_init_residual) for block in blocks)
    )
