"""The layer of ECA-Net (arXiv 1910.03151), which takes the place of an SE layer, in PyTorch."""

import torch
import torch.fx
from torch import Tensor, nn

from se_spec import eca_kernel, expect_features, expect_floating
from se_torch.layers import ChannelConvolution

torch.fx.wrap("expect_features")
torch.fx.wrap("expect_floating")


class ECALayer(nn.Module):
    """Scales every channel by a gate that is computed from the means of its neighbours (ECA-Net, eq. 9).

    Takes (N, C, spatial...) with one or more spatial axes, and returns the same shape.

    Args:
        channels: number of channels C.
        kernel: number of neighbouring channels that a gate is computed from; by default it follows from C (eq. 12).

    Raises:
        ValueError: when called with another rank or channel count.
        TypeError: when called with values that are not floating-point.
    """

    def __init__(self, channels: int, kernel: int | None = None) -> None:
        super().__init__()
        self.channels = channels
        self.kernel = eca_kernel(channels) if kernel is None else kernel
        self.conv = ChannelConvolution(self.kernel)

    def forward(self, x: Tensor) -> Tensor:
        """Scale, as an SE layer does."""
        if not torch.jit.is_scripting():
            expect_features(x.shape, 1, self.channels)
            expect_floating("ECALayer", x.is_floating_point(), x.dtype)
        return (x.flatten(2) * self.gate(x).unsqueeze(2)).reshape(x.shape)

    def gate(self, x: Tensor) -> Tensor:
        """Squeeze, and convolve over the channels (ECA-Net, eq. 9): the gates (N, C), between 0 and 1."""
        squeezed = x.flatten(2).mean(dim=2)
        return torch.sigmoid(self.conv(squeezed))
