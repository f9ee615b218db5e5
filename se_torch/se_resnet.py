"""SE-ResNet (arXiv 1709.01507, section 3.3), in PyTorch.

ReLUs and sums work in place, on what a norm, a convolution or a gate has just made: new memory costs more than they do.
"""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

import se_spec
from se_spec import Architecture, Block, expect_floating, expect_images
from se_torch.padding import MaxPool
from se_torch.se_layer import SELayer, dense


class SEBasicBlock(nn.Module):
    """Two 3x3 convolutions; SE scales the residual before it is added to the shortcut (paper, figure 3)."""

    def __init__(self, block: Block, *, zero_init_residual: bool = False) -> None:
        super().__init__()
        conv1, conv2 = block.convolutions
        self.conv1 = convolution(conv1)
        self.bn1 = batch_norm(conv1, block.epsilon)
        self.conv2 = convolution(conv2)
        self.bn2 = batch_norm(conv2, block.epsilon, zero=zero_init_residual)
        self.act = activation(block)
        self.se = squeeze_excitation(block)
        self.pool = average_pool(block.pool)
        self.downsample = shortcut(block)

    def forward(self, x: Tensor) -> Tensor:
        residual = torch.relu_(self.bn1(self.conv1(x)))
        residual = self.se(self.act(self.bn2(self.conv2(residual))))
        return torch.relu_(residual.add_(self.downsample(self.pool(x))))


class SEBottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions; SE scales the residual before it is added to the shortcut (paper, table 1)."""

    def __init__(self, block: Block, *, zero_init_residual: bool = False) -> None:
        super().__init__()
        conv1, conv2, conv3 = block.convolutions
        self.conv1 = convolution(conv1)
        self.bn1 = batch_norm(conv1, block.epsilon)
        self.conv2 = convolution(conv2)
        self.bn2 = batch_norm(conv2, block.epsilon)
        self.conv3 = convolution(conv3)
        self.bn3 = batch_norm(conv3, block.epsilon, zero=zero_init_residual)
        self.act = activation(block)
        self.se = squeeze_excitation(block)
        self.pool = average_pool(block.pool)
        self.downsample = shortcut(block)

    def forward(self, x: Tensor) -> Tensor:
        residual = torch.relu_(self.bn1(self.conv1(x)))
        residual = torch.relu_(self.bn2(self.conv2(residual)))
        residual = self.se(self.act(self.bn3(self.conv3(residual))))
        return torch.relu_(residual.add_(self.downsample(self.pool(x))))


BLOCKS = {"basic": SEBasicBlock, "bottleneck": SEBottleneck}


class SEResNet(nn.Module):
    """A network as its architecture describes it: images (N, C, H, W) to logits (N, num_classes).

    `zero_init_residual` starts every residual branch at zero (arXiv 1706.02677, section 5.1).
    Raises ValueError for images of another rank or channel count, and TypeError for another type than the weights'.
    """

    def __init__(self, architecture: Architecture, *, zero_init_residual: bool = False) -> None:
        super().__init__()
        self.architecture = architecture
        for number, stem in enumerate(architecture.stem_convolutions, start=1):
            setattr(self, f"conv{number}", convolution(stem))
            setattr(self, f"bn{number}", batch_norm(stem, architecture.bn_epsilon))
        self.maxpool = max_pool(architecture.max_pool)
        for layer, blocks in architecture.stages().items():
            stage = [BLOCKS[block.kind](block, zero_init_residual=zero_init_residual) for block in blocks]
            setattr(self, layer, nn.Sequential(*stage))
        self.dropout = nn.Dropout(architecture.dropout)
        self.fc = classifier(architecture)
        self.register_state_dict_post_hook(leave_facts)

    def forward(self, images: Tensor) -> Tensor:
        self.expect(images)
        x = self.stem(images)
        for _, block in self.blocks():
            x = block(x)
        return self.head(x)

    def stem(self, images: Tensor) -> Tensor:
        """The features that the first block takes."""
        x = images
        for number, _ in enumerate(self.architecture.stem_convolutions, start=1):
            x = torch.relu_(getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(x)))
        return self.maxpool(x)

    def blocks(self) -> Iterator[tuple[str, nn.Module]]:
        """The blocks by canonical name, in the order they are applied."""
        for layer in self.architecture.stages():
            for index, block in enumerate(getattr(self, layer)):
                yield f"{layer}.{index}", block

    def head(self, x: Tensor) -> Tensor:
        """The logits, from the last block's features averaged over space; without classes, those features."""
        return self.fc(self.dropout(x.mean(dim=(2, 3))))

    def expect(self, images: Tensor) -> None:
        """Raise unless these are images that the network can take."""
        expect_images(images.shape, "NCHW", self.architecture.in_channels, self.architecture.smallest_side)
        expect_floating("SEResNet", images.is_floating_point(), images.dtype)
        expected = self.conv1.weight.dtype
        if images.dtype != expected and not torch.is_autocast_enabled(images.device.type):
            raise TypeError(f"SEResNet expects images of the type of its weights, {expected}: got {images.dtype}")


def leave_facts(model: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
    """Puts the architecture beside the versions that a state_dict keeps of its modules: torch.save keeps it too."""
    classes = getattr(model.fc, "out_features", 0)  # a user may have put another classifier in its place
    metadata["architecture"] = {**model.architecture.to_dict(), "num_classes": classes}


def create_model(name: str, *, zero_init_residual: bool = False, **config: Any) -> SEResNet:
    """The named network, freshly initialised; facts such as num_classes, in_channels, stem, reduction and se_bias
    stand in for the architecture's own. Raises se_spec.ArchitectureError for an impossible one."""
    return SEResNet(se_spec.architecture(name, **config), zero_init_residual=zero_init_residual)


def list_models(pattern: str = "*") -> list[str]:
    """The names that `create_model` knows and that match a shell pattern."""
    return [name for name in se_spec.list_architectures() if fnmatchcase(name, pattern)]


def convolution(convolution: se_spec.Convolution) -> nn.Conv2d:
    """A convolution, padded alike on every side, He-normal by fan-out (arXiv 1502.01852); biases begin at zero."""
    layer = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        convolution.kernel,
        stride=convolution.stride,
        padding=convolution.padding,
        groups=convolution.groups,
        bias=convolution.bias,
    )
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if convolution.bias:
        nn.init.zeros_(layer.bias)
    return layer


def batch_norm(convolution: se_spec.Convolution, epsilon: float, *, zero: bool = False) -> nn.Module:
    """Batch normalisation after a convolution, or the identity where that is folded; `zero` starts its gain at zero."""
    convolution.expect_gain(zero)
    if convolution.folded:
        return nn.Identity()
    layer = nn.BatchNorm2d(convolution.out_channels, eps=epsilon, momentum=se_spec.BATCH_NORM_MOMENTUM)
    nn.init.constant_(layer.weight, 0.0 if zero else 1.0)
    return layer


def max_pool(pool: se_spec.MaxPool | None) -> nn.Module:
    """The stem's pool, padded with minus infinity; the identity where the stem has none."""
    return MaxPool(pool) if pool else nn.Identity()


def average_pool(pool: se_spec.AveragePool | None) -> nn.Module:
    """The mean before a shortcut's projection, at an odd end of what is there; the identity where there is none."""
    if not pool:
        return nn.Identity()
    return nn.AvgPool2d(pool.kernel, pool.stride, ceil_mode=True, count_include_pad=False)


def activation(block: Block) -> nn.Module:
    """The ReLU before the squeeze of a network that was trained with one; else the identity."""
    return nn.ReLU() if block.relu_before_se else nn.Identity()


def squeeze_excitation(block: Block) -> nn.Module:
    """The block's SE layer; the identity where the network has none."""
    if not block.has_se:
        return nn.Identity()
    return SELayer(block.out_channels, bias=block.se_bias, squeezed=block.squeezed_channels)


def shortcut(block: Block) -> nn.Sequential:
    """The layers of the shortcut: a projection and its norm, or none."""
    if not block.projection:
        return nn.Sequential()
    return nn.Sequential(convolution(block.projection), batch_norm(block.projection, block.epsilon))


def classifier(architecture: Architecture) -> nn.Module:
    """The fully connected layer that gives the logits; the identity where the network has no classes."""
    if not architecture.num_classes:
        return nn.Identity()
    return dense(architecture.features, architecture.num_classes, bias=True)
