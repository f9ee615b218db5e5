"""The Squeeze-and-Excitation layer (arXiv 1709.01507, section 3), in PyTorch."""

import torch
import torch.fx
from torch import Tensor, nn

from se_spec import (
    EfficientChannelAttention,
    SqueezeExcitation,
    expect_features,
    expect_floating,
    squeezed_channels,
)
from se_torch.eca_layer import ECALayer
from se_torch.layers import dense, identity

torch.fx.wrap("expect_features")
torch.fx.wrap("expect_floating")


class SELayer(nn.Module):
    """Scales every channel by a gate that is computed from the whole input (paper, eq. 2-4).

    Takes (N, C, spatial...) with one or more spatial axes, and returns the same shape.

    Args:
        channels: number of channels C.
        reduction: reduction ratio r of the paper: the squeezed width is C // r.
        bias: whether the two fully connected layers have biases; the paper's have none.
        squeezed: the squeezed width itself, where it does not follow from a reduction ratio.

    Raises:
        ValueError: when called with another rank or channel count.
        TypeError: when called with values that are not floating-point.
    """

    def __init__(self, channels: int, reduction: int = 16, bias: bool = False, *, squeezed: int | None = None) -> None:
        super().__init__()
        self.channels = channels
        self.squeezed = squeezed_channels(channels, reduction) if squeezed is None else squeezed
        self.fc1 = dense(channels, self.squeezed, bias)
        self.fc2 = dense(self.squeezed, channels, bias)

    def forward(self, x: Tensor) -> Tensor:
        """Scale (paper, eq. 4)."""
        if not torch.jit.is_scripting():
            expect_features(x.shape, 1, self.channels)
            expect_floating("SELayer", x.is_floating_point(), x.dtype)
        return (x.flatten(2) * self.gate(x).unsqueeze(2)).reshape(x.shape)

    def gate(self, x: Tensor) -> Tensor:
        """Squeeze and excitation (paper, eq. 2 and 3): the gates (N, C), between 0 and 1."""
        squeezed = x.flatten(2).mean(dim=2)
        return torch.sigmoid(self.fc2(torch.relu(self.fc1(squeezed))))


def squeeze_excitation(se: SqueezeExcitation | EfficientChannelAttention | None) -> nn.Module:
    """The SE or ECA layer of these sizes; the identity where there is none.

    Args:
        se: the sizes; None for the identity.
    """
    if isinstance(se, EfficientChannelAttention):
        return ECALayer(se.channels, se.kernel)
    return SELayer(se.channels, bias=se.bias, squeezed=se.squeezed) if se else identity()
