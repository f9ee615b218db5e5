"""Architecture: the configuration of one network. Every width, stride and kernel of its blocks is computed here, once.

Sources: Squeeze-and-Excitation Networks (arXiv 1709.01507) for SE and SENet-154; Deep Residual Learning
(arXiv 1512.03385), table 1 and section 4.2, for the ResNets; Aggregated Residual Transformations (arXiv 1611.05431) for
the groups; Bag of Tricks (arXiv 1812.01187), figure 2, for the deep stem and the averaging shortcut of ResNet-D.
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from se_spec.block import BATCH_NORM_EPSILON, EXPANSION, Block
from se_spec.config import GROUPS, SHORTHANDS, Shortcut, Squeeze, Stem, as_tuple, squeezed_channels, with_groups
from se_spec.errors import (
    ArchitectureError,
    expect,
    expect_count,
    expect_count_or_zero,
    expect_counts,
    expect_kind,
    expect_one_of,
    refuse_unknown,
)
from se_spec.graph import Graph
from se_spec.layers import Convolution, MaxPool
from se_spec.se_resnet_graph import se_resnet_graph

BATCH_NORM_MOMENTUM = 0.1
"""Weight of the new batch in the running statistics (torch's convention; Keras and Flax write 1 minus it)."""

MOST_STAGES = 4
"""Stages of the deepest published networks; the models have the attributes `layer1` to `layer4`."""


@dataclass(frozen=True)
class StageOutput:
    """The features that a stage gives.

    Attributes:
        channels: their number of channels.
        stride: how many pixels of the image lie between two of their positions.
    """

    channels: int
    stride: int


@dataclass(frozen=True)
class Architecture:
    """The configuration of one SE-ResNet. Everything else about the network follows from it.

    Attributes:
        name: name of the network, for people; nothing is computed from it.
        block: "basic" (two 3x3 convolutions) or "bottleneck" (1x1, 3x3, 1x1).
        depths: number of blocks of each stage, for one to four stages.
        widths: width of each stage; a bottleneck has four times as many output channels.
        stem: the layers before the first stage.
        shortcut: how a block's input reaches the sum where its shape differs.
        se: whether the blocks have SE layers.
        squeeze: the SE layers' squeezed width, biases and place.
        groups: groups of a bottleneck's 3x3 convolution (ResNeXt's cardinality).
        base_width: channels of each group at stage width 64; the 3x3 has width * base_width / 64 * groups channels.
        reduce_first: 1, or 2 to halve the channels of a bottleneck's first 1x1 (SENet-154).
        stride_in: the convolution of a bottleneck that strides: "conv1" (its first 1x1) or "conv2" (its 3x3).
        conv_bias: whether the convolutions have biases beside their norms.
        folded: whether the batch norms are folded into the convolutions' kernels and biases; for inference only.
        bn_epsilon: added to the variance before its square root is taken.
        dropout: fraction of the pooled features that is dropped before the classifier in training.
        drop_path: probability with which the residual of the last block is dropped in training; it rises linearly
            from 0 at the first block (stochastic depth, arXiv 1603.09382).
        num_classes: number of classes; 0 for a network that returns its pooled features.
        in_channels: channels of the images.

    Raises:
        ArchitectureError: for a value that no network can have, in a sentence that names the field.
    """

    name: str
    block: str
    depths: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem: Stem = field(default_factory=Stem)
    shortcut: Shortcut = field(default_factory=Shortcut)
    se: bool = True
    squeeze: Squeeze = field(default_factory=Squeeze)
    groups: int = 1
    base_width: int = 64
    reduce_first: int = 1
    stride_in: str = "conv2"
    conv_bias: bool = False
    folded: bool = False
    bn_epsilon: float = BATCH_NORM_EPSILON
    dropout: float = 0.0
    drop_path: float = 0.0
    num_classes: int = 1000
    in_channels: int = 3

    def __post_init__(self) -> None:
        expect_kind(str, name=self.name, block=self.block)
        expect_one_of(EXPANSION, block=self.block)
        expect_kind(bool, se=self.se, conv_bias=self.conv_bias, folded=self.folded)
        expect_kind(float, bn_epsilon=self.bn_epsilon, dropout=self.dropout, drop_path=self.drop_path)
        expect(0 < self.bn_epsilon < 1, "bn_epsilon", "between 0 and 1", self.bn_epsilon)
        expect(0 <= self.dropout < 1, "dropout", "at least 0 and below 1", self.dropout)
        expect(0 <= self.drop_path < 1, "drop_path", "at least 0 and below 1", self.drop_path)
        expect_count(in_channels=self.in_channels, groups=self.groups, base_width=self.base_width)
        expect_count_or_zero(num_classes=self.num_classes)
        expect_one_of((1, 2), reduce_first=self.reduce_first)
        expect_one_of(("conv1", "conv2"), stride_in=self.stride_in)
        expect_counts(depths=self.depths, widths=self.widths)
        for group, kind in GROUPS.items():
            expect(isinstance(getattr(self, group), kind), group, f"a {kind.__name__}", getattr(self, group))
        expect(len(self.depths) <= MOST_STAGES, "depths", f"of at most {MOST_STAGES} stages", self.depths)
        if len(self.depths) != len(self.widths) or not self.depths:
            raise ArchitectureError(
                f"depths and widths must name the same stages: got depths={self.depths} and widths={self.widths}"
            )
        if self.block == "basic" and (self.groups, self.base_width, self.reduce_first) != (1, 64, 1):
            raise ArchitectureError("groups, base_width and reduce_first are for bottlenecks, not for basic blocks")
        if self.block == "basic" and self.stride_in != "conv2":
            raise ArchitectureError("stride_in is for bottlenecks; a basic block strides in its first 3x3")
        for width in self.widths:
            self._squeezed(width * EXPANSION[self.block])
            mid = self._mid_channels(width)
            if not mid or mid // self.reduce_first % self.groups:
                raise ArchitectureError(f"groups must divide the widths: got {self.groups} groups for {mid} channels")

    def __getstate__(self) -> dict[str, Any]:
        """The fields without the graph, which a pickle does not need."""
        return {own.name: getattr(self, own.name) for own in fields(self)}

    def to_dict(self) -> dict[str, Any]:
        """Every field by name, as JSON can represent it; `from_dict` is the inverse."""
        return _with_lists(asdict(self))

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> "Architecture":
        """The architecture that `to_dict` gave.

        Args:
            config: fields by name; those left out take their defaults.

        Raises:
            ArchitectureError: for an unknown field, a missing one without a default, or an impossible value.
        """
        known = {name: as_tuple(value) for name, value in config.items()}
        refuse_unknown(known, _FIELDS)
        required = [own.name for own in fields(cls) if own.default is MISSING and own.name not in GROUPS]
        missing = [name for name in required if name not in known]
        if missing:
            raise ArchitectureError(f"an architecture needs the fields {', '.join(missing)}")
        return cls(**with_groups({group: kind() for group, kind in GROUPS.items()}, known))

    def replace(self, **config: Any) -> "Architecture":
        """This architecture with some fields changed.

        Args:
            **config: new values by field name. A group (`stem`, `shortcut`, `squeeze`) may be given as a mapping of
                the fields to change in it, or as a word such as "3x3"; `reduction` and `se_bias` are fields of
                `squeeze` that can be named directly.

        Raises:
            ArchitectureError: for an unknown field or an impossible value.
        """
        refuse_unknown(config, _FIELDS)
        return replace(self, **with_groups({group: getattr(self, group) for group in GROUPS}, config))

    @cached_property
    def graph(self) -> Graph:
        """The operations of the network, from which its parameters, its cost and its reference are derived."""
        return se_resnet_graph(self)

    @property
    def stem_convolutions(self) -> tuple[Convolution, ...]:
        """The convolutions of the stem: `conv1`, and `conv2` and `conv3` of a deep stem."""
        widths = (self.in_channels, *self.stem.inner, self.stem.width or self.widths[0])
        strides = (self.stem.stride, *[1] * len(self.stem.inner))
        return tuple(
            Convolution(inputs, outputs, self.stem.kernel, stride, bias=self._conv_bias, folded=self.folded)
            for inputs, outputs, stride in zip(widths, widths[1:], strides, strict=False)
        )

    @property
    def max_pool(self) -> MaxPool | None:
        """The max-pool of the stem, or None where it has none."""
        return None if self.stem.pool == "none" else MaxPool(self.stem.pool)

    @property
    def smallest_side(self) -> int:
        """The smallest height or width of an image in pixels: an unpadded pool needs one complete window."""
        return 3 if self.stem.pool == "ceil" else 1

    @property
    def image_size(self) -> int:
        """Height and width in pixels of the images that the papers use with this stem; any size can be run."""
        return 224 if self.max_pool else 32

    @property
    def features(self) -> int:
        """Channels of the pooled features that the classifier takes."""
        return self.widths[-1] * EXPANSION[self.block]

    @property
    def stage_outputs(self) -> dict[str, StageOutput]:
        """The channels and the stride of the features that the stem and each stage give, by the models' attributes."""
        stride = self.stem.stride * (self.max_pool.stride if self.max_pool else 1)
        outputs = {"stem": StageOutput(self.stem_convolutions[-1].out_channels, stride)}
        for block in self.blocks():
            stride *= block.stride
            outputs[f"layer{block.stage}"] = StageOutput(block.out_channels, stride)
        return outputs

    def blocks(self) -> Iterator[Block]:
        """The residual blocks in the order they are applied; the first of each later stage halves height and width."""
        in_channels = self.stem_convolutions[-1].out_channels
        before = 0
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), start=1):
            mid_channels = self._mid_channels(width)
            out_channels = width * EXPANSION[self.block]
            for index in range(depth):
                stride = 2 if stage > 1 and index == 0 else 1
                yield Block(
                    kind=self.block,
                    in_channels=in_channels,
                    mid_channels=mid_channels,
                    out_channels=out_channels,
                    stride=stride,
                    first_channels=mid_channels // self.reduce_first,
                    groups=self.groups,
                    stride_in=self.stride_in,
                    conv_bias=self._conv_bias,
                    folded=self.folded,
                    always_projects=self.shortcut.where == "blocks" or (self.shortcut.where == "stages" and index == 0),
                    shortcut_kernel=self.shortcut.kernel if stride != 1 else 1,
                    averages=self.shortcut.averages and stride != 1,
                    squeezed_channels=self._squeezed(out_channels),
                    se_bias=self.se and self.squeeze.bias,
                    relu_before_se=self.se and self.squeeze.after_relu,
                    epsilon=0.0 if self.folded else self.bn_epsilon,
                    drop_path=self.drop_path * before / max(1, sum(self.depths) - 1),
                    stage=stage,
                    index=index,
                )
                in_channels = out_channels
                before += 1

    def stage(self, number: int) -> list[Block]:
        """The blocks of one stage.

        Args:
            number: the stage, from 1 to 4; one that the network does not have has no blocks.
        """
        return [block for block in self.blocks() if block.stage == number]

    def function_key(self) -> tuple[object, ...]:
        """A key of the function that is computed, without the name and what is dropped in training."""
        blocks = replace(self, drop_path=0.0).blocks()
        return self.stem_convolutions, self.max_pool, tuple(blocks), self.num_classes

    @property
    def _conv_bias(self) -> bool:
        return self.conv_bias or self.folded

    def _mid_channels(self, width: int) -> int:
        return width * self.base_width // 64 * self.groups

    def _squeezed(self, channels: int) -> int:
        return squeezed_channels(channels, self.squeeze.reduction, self.squeeze.rounding) if self.se else 0


_FIELDS = [*(own.name for own in fields(Architecture)), *SHORTHANDS]


def _with_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_lists(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def config_differences(one: Architecture, other: Architecture) -> dict[str, tuple[object, object]]:
    """The fields in which two architectures differ, but for their names.

    Args:
        one: an architecture.
        other: the architecture to compare it with.

    Returns:
        The two values of each such field, by its dotted name, such as `stem.pool`.
    """
    mine, theirs = _flat(one.to_dict()), _flat(other.to_dict())
    return {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name] and name != "name"}


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in config.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
