"""The layers that work on space: their sizes, strides and paddings, and the size of their outputs.

A side is the height or the width of an image or a feature map, in pixels.
"""

from dataclasses import dataclass

from se_spec.errors import ArchitectureError

POOLS = ("pad1", "ceil", "same", "none")
"""How the windows of the stem's 3x3 max-pool are aligned, which changes every feature and no name or shape:

`pad1`: padded by one on every side, first window at -1 (torchvision, timm). `ceil`: no padding before, and after only
what the last window needs, first window at 0 (Caffe, Cadene). `same`: as TensorFlow pads, like `ceil` on even sides and
like `pad1` on odd ones. `none`: no pool (CIFAR).
"""


@dataclass(frozen=True)
class Convolution:
    """A square convolution with the same padding on every side, so that stride 1 keeps the size.

    Attributes:
        in_channels: channels of its input.
        out_channels: channels of its output.
        kernel: height and width of the kernel.
        stride: stride of both axes.
        groups: groups of channels that are convolved separately.
        bias: whether it has a bias.
        folded: whether the norm that follows is folded into its kernel and bias.
    """

    in_channels: int
    out_channels: int
    kernel: int
    stride: int = 1
    groups: int = 1
    bias: bool = False
    folded: bool = False

    @property
    def padding(self) -> int:
        """Zeros on each side of each spatial axis."""
        return self.kernel // 2

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the kernel, on the axes OIHW; a group sees its share of the inputs only."""
        return self.out_channels, self.in_channels // self.groups, self.kernel, self.kernel

    def side(self, side: int) -> int:
        """The output's side, from the input's."""
        return -(-side // self.stride)

    def check_zero_init(self, zero_init: bool) -> None:
        """Raise ArchitectureError where its norm is to start at zero, and that norm is folded away."""
        if zero_init and self.folded:
            raise ArchitectureError("zero_init_residual starts the gains of norms at zero, and these norms are folded")


@dataclass(frozen=True)
class MaxPool:
    """A 3x3 max-pool of stride 2, padded with minus infinity.

    Attributes:
        alignment: where its windows begin, one of POOLS.
        kernel: height and width of a window.
        stride: stride of both axes.
    """

    alignment: str = "pad1"
    kernel: int = 3
    stride: int = 2

    @property
    def symmetric(self) -> bool:
        """Whether the padding is the same on both ends of a side, whatever its size."""
        return self.alignment == "pad1"

    def padding(self, side: int) -> tuple[int, int]:
        """Padding before and after a side; padding that no window reaches changes nothing."""
        before = {"pad1": 1, "ceil": 0, "same": side % 2}[self.alignment]
        return before, 1

    def side(self, side: int) -> int:
        """The output's side, from the input's."""
        return (sum(self.padding(side)) + side - self.kernel) // self.stride + 1


@dataclass(frozen=True)
class AveragePool:
    """The mean of each 2x2 window, of stride 2; at an odd end, of the values that exist (ResNet-D, arXiv 1812.01187).

    Attributes:
        kernel: height and width of a window.
        stride: stride of both axes.
    """

    kernel: int = 2
    stride: int = 2

    def side(self, side: int) -> int:
        """The output's side, from the input's."""
        return -(-side // self.stride)
