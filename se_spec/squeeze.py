"""The sizes of an SE layer (arXiv 1709.01507, section 3.2) and of an ECA layer (arXiv 1910.03151)."""

from dataclasses import dataclass
from math import log2

from se_spec.errors import ArchitectureError

SQUEEZES = {
    "floor": lambda channels, reduction: channels // reduction,
    "round8": lambda channels, reduction: max(8, (channels // reduction + 4) // 8 * 8),
    "constant": lambda channels, reduction: reduction,
}
"""How the squeezed width follows from the channels: the paper's C / r; timm's C / r rounded to a multiple of 8; or
`reduction` itself in every stage, as in NVIDIA's and the first senet.pytorch."""


GATES = ("fc", "eca")
"""How the gates follow from the squeezed channels: by the two fully connected layers of an SE layer, or by the one
convolution over neighbouring channels of an ECA layer."""


@dataclass(frozen=True)
class SqueezeExcitation:
    """The sizes of one SE layer.

    Attributes:
        channels: channels of its input and of its output.
        squeezed: width between its two fully connected layers.
        bias: whether these have biases.
    """

    channels: int
    squeezed: int
    bias: bool


@dataclass(frozen=True)
class EfficientChannelAttention:
    """The sizes of one ECA layer.

    Attributes:
        channels: channels of its input and of its output.
        kernel: number of neighbouring channels that a gate is computed from, an odd number.
    """

    channels: int
    kernel: int


def eca_kernel(channels: int) -> int:
    """Number of neighbouring channels that a gate of an ECA layer is computed from (arXiv 1910.03151, eq. 12).

    Args:
        channels: channels C of the layer's input.

    Returns:
        (log2(C) + 1) / 2, rounded down and then up to an odd number, and at least 3.
    """
    return max(3, int(abs(log2(channels) + 1) / 2) | 1)


def squeezed_channels(channels: int, reduction: int, rounding: str = "floor") -> int:
    """Width of the SE bottleneck (paper, section 3.2).

    Args:
        channels: channels C of the SE layer's input.
        reduction: the reduction ratio r.
        rounding: one of SQUEEZES.

    Raises:
        ArchitectureError: where the reduction is larger than the number of channels.
    """
    if reduction > channels:
        raise ArchitectureError(
            f"reduction must be at most the number of channels: got reduction {reduction} for {channels} channels; "
            f"reduction={max(1, channels // 4)} would squeeze them to {channels // max(1, channels // 4)}"
        )
    return SQUEEZES[rounding](channels, reduction)
