"""Grouped convolutions in a form that XLA is fast at on a CPU.

TensorFlow leaves grouped convolutions to XLA, whose CPU code is slow where a group has few channels: neighbouring
groups are computed as one wider group, whose kernel has zeros between them. The sums are the same, with zeros added.
"""

from keras import KerasTensor, ops

NARROW, WIDE = 16, 32
"""Channels of a group below which XLA is slow on a CPU, and with which it is fast (benchmarks/RESULTS.md)."""


def merged_groups(channels: int, groups: int) -> int:
    """How many neighbouring groups to compute as one.

    Args:
        channels: input channels of one group.
        groups: number of groups, which the result divides.
    """
    most = min(groups, WIDE // channels) if channels < NARROW else 1
    return next(number for number in range(most, 0, -1) if groups % number == 0)


def widened(kernel: KerasTensor, groups: int, merged: int) -> KerasTensor:
    """The kernel of the same convolution with `groups / merged` groups.

    Args:
        kernel: (H, W, I, O), where I counts the input channels of one group.
        groups: number of groups of the kernel.
        merged: number of neighbouring groups that become one.

    Returns:
        (H, W, merged * I, O), block-diagonal in the channels of each new group.
    """
    if merged == 1:
        return kernel
    height, width, inputs, outputs = kernel.shape
    separate = ops.reshape(kernel, (height, width, inputs, groups // merged, merged, outputs // groups))
    blocks = ops.einsum("hwigmo,nm->hwnigmo", separate, ops.eye(merged, dtype=kernel.dtype))
    return ops.reshape(blocks, (height, width, merged * inputs, outputs))
