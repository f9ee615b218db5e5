"""The manifest: canonical name, role, axes and shape of every parameter of an architecture.

The canonical names are the field's own (torchvision's ResNet plus `se.fc1` and `se.fc2`), so a file that uses them
loads into PyTorch unchanged. Everything that names, stores, converts or counts weights is a join on this list.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from se_spec.architecture import Architecture
from se_spec.block import Block
from se_spec.layers import Convolution


class Role(StrEnum):
    """What a parameter does. A dialect has one leaf name and one axis order for each role."""

    CONVOLUTION = "convolution"
    CONVOLUTION_BIAS = "convolution bias"
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
        """Whether the optimiser updates it; the running statistics are measured instead."""
        return self not in (Role.MEAN, Role.VARIANCE)


class Layer(StrEnum):
    """The layer that owns a parameter. A dialect has one path for each layer."""

    STEM_CONVOLUTION = "stem convolution"
    STEM_NORM = "stem norm"
    CONVOLUTION = "convolution"
    NORM = "norm"
    GATE = "gate"
    PROJECTION = "projection"
    PROJECTION_NORM = "projection norm"
    CLASSIFIER = "classifier"


NORM_ROLES = (Role.GAMMA, Role.BETA, Role.MEAN, Role.VARIANCE)
"""The parameters of a norm, in the order in which every framework lists them."""

CANONICAL_LAYERS: Mapping[Layer, str] = {
    Layer.STEM_CONVOLUTION: "conv{number}",
    Layer.STEM_NORM: "bn{number}",
    Layer.CONVOLUTION: "layer{stage}.{index}.conv{number}",
    Layer.NORM: "layer{stage}.{index}.bn{number}",
    Layer.GATE: "layer{stage}.{index}.se.fc{number}",
    Layer.PROJECTION: "layer{stage}.{index}.downsample.0",
    Layer.PROJECTION_NORM: "layer{stage}.{index}.downsample.1",
    Layer.CLASSIFIER: "fc",
}
"""The canonical path of each layer; stages and numbers count from 1, the indices of blocks from 0."""

CANONICAL_WORDS = {
    Role.CONVOLUTION: ("weight", "OIHW"),
    Role.CONVOLUTION_BIAS: ("bias", "O"),
    Role.GAMMA: ("weight", "C"),
    Role.BETA: ("bias", "C"),
    Role.MEAN: ("running_mean", "C"),
    Role.VARIANCE: ("running_var", "C"),
    Role.GATE: ("weight", "OI"),
    Role.GATE_BIAS: ("bias", "O"),
    Role.CLASSIFIER: ("weight", "OI"),
    Role.CLASSIFIER_BIAS: ("bias", "O"),
}
"""The leaf name of the canonical name, and the canonical axes, of each role."""


@dataclass(frozen=True)
class Parameter:
    """One array of weights or of running statistics.

    Attributes:
        layer: the layer that owns it.
        role: what it does in that layer.
        shape: its canonical shape.
        stage: number of its stage from 1; 0 outside the stages.
        index: number of its block in the stage, from 0.
        number: number of its layer among those of the same kind in a block, or in the stem, from 1.
    """

    layer: Layer
    role: Role
    shape: tuple[int, ...] = ()
    stage: int = 0
    index: int = 0
    number: int = 1

    def path(self, layers: Mapping[Layer, str | tuple[str, ...]]) -> str:
        """The path of its layer in a name table.

        Args:
            layers: a pattern for each layer, as in CANONICAL_LAYERS, or one pattern for each number; `{unit}` is the
                index of the block counted from 1.
        """
        pattern = layers[self.layer]
        pattern = pattern if isinstance(pattern, str) else pattern[self.number - 1]
        return pattern.format(stage=self.stage, index=self.index, unit=self.index + 1, number=self.number)

    @property
    def module(self) -> str:
        """The canonical path of the layer that owns it, such as `layer3.0.conv2`."""
        return self.path(CANONICAL_LAYERS)

    @property
    def name(self) -> str:
        """The canonical name, such as `layer3.0.conv2.weight`."""
        return f"{self.module}.{CANONICAL_WORDS[self.role][0]}"

    @property
    def axes(self) -> str:
        """One letter for each axis: O and I output and input channels, H and W the kernel's sides, C the channels."""
        return CANONICAL_WORDS[self.role][1]


def manifest(architecture: Architecture) -> tuple[Parameter, ...]:
    """Every parameter of the architecture.

    Returns:
        The parameters in the order in which the network applies them.
    """
    return tuple(_parameters(architecture))


def _parameters(architecture: Architecture) -> Iterator[Parameter]:
    for number, convolution in enumerate(architecture.stem_convolutions, start=1):
        yield from _normalised(Layer.STEM_CONVOLUTION, Layer.STEM_NORM, convolution, number=number)
    for block in architecture.blocks():
        yield from _block(block)
    if architecture.num_classes:
        yield Parameter(Layer.CLASSIFIER, Role.CLASSIFIER, (architecture.num_classes, architecture.features))
        yield Parameter(Layer.CLASSIFIER, Role.CLASSIFIER_BIAS, (architecture.num_classes,))


def _block(block: Block) -> Iterator[Parameter]:
    place = {"stage": block.stage, "index": block.index}
    for number, convolution in enumerate(block.convolutions, start=1):
        yield from _normalised(Layer.CONVOLUTION, Layer.NORM, convolution, **place, number=number)
    if block.has_se:
        widths = block.out_channels, block.squeezed_channels, block.out_channels
        for number, (inputs, outputs) in enumerate(pairwise(widths), start=1):
            yield Parameter(Layer.GATE, Role.GATE, (outputs, inputs), **place, number=number)
            if block.se_bias:
                yield Parameter(Layer.GATE, Role.GATE_BIAS, (outputs,), **place, number=number)
    if block.projection:
        yield from _normalised(Layer.PROJECTION, Layer.PROJECTION_NORM, block.projection, **place)


def _normalised(layer: Layer, norm: Layer, convolution: Convolution, **place: int) -> Iterator[Parameter]:
    yield Parameter(layer, Role.CONVOLUTION, convolution.shape, **place)
    if convolution.bias:
        yield Parameter(layer, Role.CONVOLUTION_BIAS, (convolution.out_channels,), **place)
    for role in () if convolution.folded else NORM_ROLES:
        yield Parameter(norm, role, (convolution.out_channels,), **place)
