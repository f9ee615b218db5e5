"""The layers that work on space: their sizes, strides and paddings, and the sizes that they give.

A side is the height or the width of an image or a map, in pixels.
"""

from dataclasses import dataclass

from se_spec.errors import ArchitectureError

POOLS = ("pad1", "ceil", "same", "none")
"""How the windows of the stem's 3x3 max-pool lie. Invisible in keys and shapes, and it moves every feature:

`pad1`: one margin on every side, first window at -1 (torchvision, timm). `ceil`: none before, and after only what the
last window needs, first window at 0 (Caffe, Cadene). `same`: as TensorFlow pads, like `ceil` on even sides and like
`pad1` on odd ones. `none`: no pool (CIFAR).
"""


@dataclass(frozen=True)
class Convolution:
    """A square convolution, padded alike on every side so that stride 1 keeps the size. A norm follows it, unless that
    is `folded` into its kernel and bias."""

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
        """Of the kernel, on the axes OIHW; a group sees its share of the inputs only."""
        return self.out_channels, self.in_channels // self.groups, self.kernel, self.kernel

    def side(self, side: int) -> int:
        """The side of its output."""
        return -(-side // self.stride)

    def expect_gain(self, zero: bool) -> None:
        """Raise ArchitectureError where the gain of its norm is to begin at zero, and the norm is folded away."""
        if zero and self.folded:
            raise ArchitectureError("zero_init_residual starts the gains of norms at zero, and these norms are folded")


NARROW, WIDE = 16, 32
"""Channels of a group below which XLA is slow on a CPU, and with which it is fast (benchmarks/RESULTS.md)."""


def groups_as_one(channels: int, groups: int) -> int:
    """How many neighbouring groups of so many channels are better computed as one, with zeros between them."""
    most = min(groups, WIDE // channels) if channels < NARROW else 1
    return next(number for number in range(most, 0, -1) if groups % number == 0)


@dataclass(frozen=True)
class MaxPool:
    """A 3x3 max-pool of stride 2, padded with minus infinity as its `alignment` (one of POOLS) says."""

    alignment: str = "pad1"
    kernel: int = 3
    stride: int = 2

    def margins(self, side: int) -> tuple[int, int]:
        """Padding before and after a side; a margin that no window reaches changes nothing."""
        before = {"pad1": 1, "ceil": 0, "same": side % 2}[self.alignment]
        return before, 1

    def side(self, side: int) -> int:
        """The side of its output."""
        return (sum(self.margins(side)) + side - self.kernel) // self.stride + 1


@dataclass(frozen=True)
class AveragePool:
    """The mean of each 2x2 window, of stride 2; at an odd end, of what is there (ResNet-D, arXiv 1812.01187)."""

    kernel: int = 2
    stride: int = 2

    def side(self, side: int) -> int:
        """The side of its output."""
        return -(-side // self.stride)
