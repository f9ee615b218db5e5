"""SE-ResNet (arXiv 1709.01507, section 3.3), in PyTorch."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

import se_spec
from se_spec import Architecture, Block, expect_floating, expect_images
from se_torch.se_layer import SELayer, dense


class SEBasicBlock(nn.Module):
    """Two 3x3 convolutions; SE scales the residual before it is added to the shortcut (paper, figure 3)."""

    def __init__(self, block: Block, *, zero_init_residual: bool = False) -> None:
        super().__init__()
        conv1, conv2 = block.convolutions
        self.conv1 = convolution(conv1)
        self.bn1 = batch_norm(conv1.out_channels)
        self.conv2 = convolution(conv2)
        self.bn2 = batch_norm(conv2.out_channels, zero=zero_init_residual)
        self.se = squeeze_excitation(block)
        self.downsample = shortcut(block)

    def forward(self, x: Tensor) -> Tensor:
        residual = torch.relu(self.bn1(self.conv1(x)))
        residual = self.se(self.bn2(self.conv2(residual)))
        return torch.relu(residual + self.downsample(x))


class SEBottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions; SE scales the residual before it is added to the shortcut (paper, table 1)."""

    def __init__(self, block: Block, *, zero_init_residual: bool = False) -> None:
        super().__init__()
        conv1, conv2, conv3 = block.convolutions
        self.conv1 = convolution(conv1)
        self.bn1 = batch_norm(conv1.out_channels)
        self.conv2 = convolution(conv2)
        self.bn2 = batch_norm(conv2.out_channels)
        self.conv3 = convolution(conv3)
        self.bn3 = batch_norm(conv3.out_channels, zero=zero_init_residual)
        self.se = squeeze_excitation(block)
        self.downsample = shortcut(block)

    def forward(self, x: Tensor) -> Tensor:
        residual = torch.relu(self.bn1(self.conv1(x)))
        residual = torch.relu(self.bn2(self.conv2(residual)))
        residual = self.se(self.bn3(self.conv3(residual)))
        return torch.relu(residual + self.downsample(x))


BLOCKS = {"basic": SEBasicBlock, "bottleneck": SEBottleneck}


class SEResNet(nn.Module):
    """A network as its architecture describes it: images (N, C, H, W) to logits (N, num_classes).

    `zero_init_residual` starts every residual branch at zero (arXiv 1706.02677, section 5.1).
    Raises ValueError for images of another rank or channel count, and TypeError for another type than the weights'.
    """

    def __init__(self, architecture: Architecture, *, zero_init_residual: bool = False) -> None:
        super().__init__()
        self.architecture = architecture
        self.conv1 = convolution(architecture.conv1)
        self.bn1 = batch_norm(architecture.conv1.out_channels)
        self.maxpool = max_pool(architecture.max_pool)
        for layer, blocks in architecture.stages().items():
            stage = [BLOCKS[block.kind](block, zero_init_residual=zero_init_residual) for block in blocks]
            setattr(self, layer, nn.Sequential(*stage))
        self.fc = dense(architecture.features, architecture.num_classes, bias=True)

    def forward(self, images: Tensor) -> Tensor:
        self.expect(images)
        x = self.stem(images)
        for _, block in self.blocks():
            x = block(x)
        return self.head(x)

    def stem(self, images: Tensor) -> Tensor:
        """The features that the first block takes."""
        return self.maxpool(torch.relu(self.bn1(self.conv1(images))))

    def blocks(self) -> Iterator[tuple[str, nn.Module]]:
        """The blocks by canonical name, in the order they are applied."""
        for layer in self.architecture.stages():
            for index, block in enumerate(getattr(self, layer)):
                yield f"{layer}.{index}", block

    def head(self, x: Tensor) -> Tensor:
        """The logits, from the last block's features averaged over space."""
        return self.fc(x.mean(dim=(2, 3)))

    def expect(self, images: Tensor) -> None:
        """Raise unless these are images that the network can take."""
        expect_images(images.shape, "NCHW", self.architecture.in_channels)
        expect_floating("SEResNet", images.is_floating_point(), images.dtype)
        expected = self.conv1.weight.dtype
        if images.dtype != expected and not torch.is_autocast_enabled(images.device.type):
            raise TypeError(f"SEResNet expects images of the type of its weights, {expected}: got {images.dtype}")


def create_model(name: str, *, zero_init_residual: bool = False, **facts: Any) -> SEResNet:
    """The named network, freshly initialised; facts such as num_classes, in_channels, stem, reduction and se_bias
    stand in for the architecture's own. Raises se_spec.ArchitectureError for an impossible one."""
    return SEResNet(se_spec.architecture(name, **facts), zero_init_residual=zero_init_residual)


def list_models(pattern: str = "*") -> list[str]:
    """The names that `create_model` knows and that match a shell pattern."""
    return [name for name in se_spec.list_architectures() if fnmatchcase(name, pattern)]


def convolution(convolution: se_spec.Convolution) -> nn.Conv2d:
    """A bias-free convolution, padded alike on every side, He-normal by fan-out (arXiv 1502.01852)."""
    layer = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        convolution.kernel,
        stride=convolution.stride,
        padding=convolution.padding,
        bias=False,
    )
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def batch_norm(channels: int, *, zero: bool = False) -> nn.BatchNorm2d:
    """Batch normalisation; `zero` starts its gain at zero instead of one."""
    layer = nn.BatchNorm2d(channels, eps=se_spec.BATCH_NORM_EPSILON, momentum=se_spec.BATCH_NORM_MOMENTUM)
    nn.init.constant_(layer.weight, 0.0 if zero else 1.0)
    return layer


def max_pool(pool: se_spec.MaxPool | None) -> nn.Module:
    """The stem's pool, padded with minus infinity; the identity where the stem has none."""
    return nn.MaxPool2d(pool.kernel, pool.stride, pool.padding) if pool else nn.Identity()


def squeeze_excitation(block: Block) -> nn.Module:
    """The block's SE layer; the identity where the network has none."""
    if not block.has_se:
        return nn.Identity()
    return SELayer(block.out_channels, bias=block.se_bias, squeezed=block.squeezed_channels)


def shortcut(block: Block) -> nn.Sequential:
    """The layers of the shortcut: a projection and its norm, or none."""
    if not block.projection:
        return nn.Sequential()
    return nn.Sequential(convolution(block.projection), batch_norm(block.out_channels))
