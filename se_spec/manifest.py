"""The manifest: canonical name, role, axes and shape of every parameter of an architecture.

The canonical names are the field's own (torchvision's ResNet plus `se.fc1` and `se.fc2`), so a file that holds
them loads into PyTorch as it is. Everything that names, stores, converts or counts weights is a join on this list.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from se_spec.architecture import Architecture, Block, Convolution


class Role(StrEnum):
    """What a parameter does. A dialect has one word and one axis order a role."""

    CONVOLUTION = "convolution"
    GAMMA = "gamma"
    BETA = "beta"
    MEAN = "mean"
    VARIANCE = "variance"
    GATE = "gate"
    GATE_BIAS = "gate bias"
    CLASSIFIER = "classifier"
    CLASSIFIER_BIAS = "classifier bias"

    @property
    def learned(self) -> bool:
        """Whether the optimiser moves it; the running statistics are measured instead."""
        return self not in (Role.MEAN, Role.VARIANCE)


CANONICAL = {
    Role.CONVOLUTION: ("weight", "OIHW"),
    Role.GAMMA: ("weight", "C"),
    Role.BETA: ("bias", "C"),
    Role.MEAN: ("running_mean", "C"),
    Role.VARIANCE: ("running_var", "C"),
    Role.GATE: ("weight", "OI"),
    Role.GATE_BIAS: ("bias", "O"),
    Role.CLASSIFIER: ("weight", "OI"),
    Role.CLASSIFIER_BIAS: ("bias", "O"),
}
"""The last word of the canonical name, and the canonical axes, of each role."""


@dataclass(frozen=True)
class Parameter:
    """One array of weights or of running statistics.

    `module` is the canonical path of the layer that owns it (`layer3.0.conv2`). `stride` is the size, in input
    pixels along each axis, of one position at which it is applied; 0 where it is applied once an image.
    """

    module: str
    role: Role
    shape: tuple[int, ...]
    stride: int = 0

    @property
    def name(self) -> str:
        """The canonical name, such as `layer3.0.conv2.weight`."""
        return f"{self.module}.{CANONICAL[self.role][0]}"

    @property
    def axes(self) -> str:
        """One letter an axis: O and I are output and input channels, H and W the kernel's sides, C the channels."""
        return CANONICAL[self.role][1]


def manifest(architecture: Architecture) -> tuple[Parameter, ...]:
    """Every parameter of the architecture, in the order the network applies them."""
    return tuple(_parameters(architecture))


def _parameters(architecture: Architecture) -> Iterator[Parameter]:
    stride = architecture.conv1.stride
    yield from _normalised("conv1", "bn1", architecture.conv1, stride)
    if architecture.max_pool:
        stride *= architecture.max_pool.stride
    for block in architecture.blocks():
        yield from _block(block, stride)
        stride *= block.stride
    yield Parameter("fc", Role.CLASSIFIER, (architecture.num_classes, architecture.features))
    yield Parameter("fc", Role.CLASSIFIER_BIAS, (architecture.num_classes,))


def _block(block: Block, stride: int) -> Iterator[Parameter]:
    branch_stride = stride
    for number, convolution in enumerate(block.convolutions, start=1):
        branch_stride *= convolution.stride
        yield from _normalised(f"{block.name}.conv{number}", f"{block.name}.bn{number}", convolution, branch_stride)
    if block.has_se:
        for attribute, shape in (
            ("fc1", (block.squeezed_channels, block.out_channels)),
            ("fc2", (block.out_channels, block.squeezed_channels)),
        ):
            yield Parameter(f"{block.name}.se.{attribute}", Role.GATE, shape)
            if block.se_bias:
                yield Parameter(f"{block.name}.se.{attribute}", Role.GATE_BIAS, shape[:1])
    if block.projection:
        shortcut = f"{block.name}.downsample"
        yield from _normalised(f"{shortcut}.0", f"{shortcut}.1", block.projection, stride * block.projection.stride)


def _normalised(module: str, norm: str, convolution: Convolution, stride: int) -> Iterator[Parameter]:
    out_channels = convolution.out_channels
    shape = (out_channels, convolution.in_channels, convolution.kernel, convolution.kernel)
    yield Parameter(module, Role.CONVOLUTION, shape, stride)
    for role in (Role.GAMMA, Role.BETA, Role.MEAN, Role.VARIANCE):
        yield Parameter(norm, role, (out_channels,), stride)
