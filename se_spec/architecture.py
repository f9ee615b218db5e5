"""Architecture: the facts of one network. Every width, stride and kernel of its blocks is computed here, once.

Sources: Squeeze-and-Excitation Networks (arXiv 1709.01507) for SE and SENet-154; Deep Residual Learning
(arXiv 1512.03385), table 1 and section 4.2, for the ResNets; Aggregated Residual Transformations (arXiv 1611.05431) for
the groups; Bag of Tricks (arXiv 1812.01187), figure 2, for the deep stem and the averaging shortcut of ResNet-D.
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any

from se_spec.block import BATCH_NORM_EPSILON, EXPANSION, Block
from se_spec.config import GROUPS, SHORTHANDS, Shortcut, Squeeze, Stem, grouped, squeezed_channels, tupled
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
from se_spec.layers import Convolution, MaxPool

BATCH_NORM_MOMENTUM = 0.1
"""Weight of the new batch in the running statistics (torch's convention; Keras and Flax write 1 minus it)."""


@dataclass(frozen=True)
class Architecture:
    """The facts of one network. Everything else about it follows from them.

    A bottleneck's 3x3 has `groups` x `base_width` channels for every 64 of its stage's width, and its first 1x1 has
    them divided by `reduce_first`; `stride_in` names the convolution that strides. `folded` networks are for inference:
    each norm is in the kernel and the bias of its convolution, whatever `conv_bias` says. `dropout` is the share of
    features that training drops before the classifier; without classes the network ends in its pooled features.
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
    num_classes: int = 1000
    in_channels: int = 3

    def __post_init__(self) -> None:
        expect_kind(str, name=self.name, block=self.block)
        expect_one_of(EXPANSION, block=self.block)
        expect_kind(bool, se=self.se, conv_bias=self.conv_bias, folded=self.folded)
        expect_kind(float, bn_epsilon=self.bn_epsilon, dropout=self.dropout)
        expect(0 < self.bn_epsilon < 1, "bn_epsilon", "between 0 and 1", self.bn_epsilon)
        expect(0 <= self.dropout < 1, "dropout", "at least 0 and below 1", self.dropout)
        expect_count(in_channels=self.in_channels, groups=self.groups, base_width=self.base_width)
        expect_count_or_zero(num_classes=self.num_classes)
        expect_one_of((1, 2), reduce_first=self.reduce_first)
        expect_one_of(("conv1", "conv2"), stride_in=self.stride_in)
        expect_counts(depths=self.depths, widths=self.widths)
        for group, kind in GROUPS.items():
            expect(isinstance(getattr(self, group), kind), group, f"a {kind.__name__}", getattr(self, group))
        if len(self.depths) != len(self.widths) or not self.depths:
            raise ArchitectureError(
                f"depths and widths must name the same stages: got depths={self.depths} and widths={self.widths}"
            )
        if self.block == "basic" and (self.groups, self.base_width, self.reduce_first) != (1, 64, 1):
            raise ArchitectureError("groups, base_width and reduce_first are facts of bottlenecks, not of basic blocks")
        if self.block == "basic" and self.stride_in != "conv2":
            raise ArchitectureError("stride_in is a fact of bottlenecks; a basic block strides in its first 3x3")
        for width in self.widths:
            self._squeezed(width * EXPANSION[self.block])
            mid = self._mid_channels(width)
            if not mid or mid // self.reduce_first % self.groups:
                raise ArchitectureError(f"groups must divide the widths: got {self.groups} groups for {mid} channels")

    def to_dict(self) -> dict[str, Any]:
        """Every fact by name, in a form that JSON keeps."""
        return _listed(asdict(self))

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> "Architecture":
        """The architecture whose `config` these are; facts left out take their defaults."""
        given = {name: tupled(value) for name, value in config.items()}
        refuse_unknown(given, _FIELDS)
        absent = [known.name for known in fields(cls) if known.default is MISSING and known.name not in given]
        absent = [name for name in absent if name not in GROUPS]
        if absent:
            raise ArchitectureError(f"an architecture needs the facts {', '.join(absent)}")
        return cls(**grouped({group: kind() for group, kind in GROUPS.items()}, given))

    def replace(self, **config: Any) -> "Architecture":
        """This architecture with other facts. A group takes the facts that are named and keeps its others; the words
        of SHORTHANDS stand for facts of a group."""
        refuse_unknown(config, _FIELDS)
        return replace(self, **grouped({group: getattr(self, group) for group in GROUPS}, config))

    @property
    def stem_convolutions(self) -> tuple[Convolution, ...]:
        """The convolutions of the stem: `conv1`, and the others of a deep stem."""
        widths = (self.in_channels, *self.stem.inner, self.stem.width or self.widths[0])
        strides = (self.stem.stride, *[1] * len(self.stem.inner))
        return tuple(
            Convolution(inputs, outputs, self.stem.kernel, stride, bias=self._conv_bias, folded=self.folded)
            for inputs, outputs, stride in zip(widths, widths[1:], strides, strict=False)
        )

    @property
    def max_pool(self) -> MaxPool | None:
        """The pool of the stem, where it has one."""
        return None if self.stem.pool == "none" else MaxPool(self.stem.pool)

    @property
    def smallest_side(self) -> int:
        """The least side of an image, in pixels: a pool without margins needs a window."""
        return 3 if self.stem.pool == "ceil" else 1

    @property
    def image_size(self) -> int:
        """Side of the images the papers use with this stem; the network itself takes any size."""
        return 224 if self.max_pool else 32

    @property
    def features(self) -> int:
        """Channels of the pooled features that the classifier sees."""
        return self.widths[-1] * EXPANSION[self.block]

    def blocks(self) -> Iterator[Block]:
        """The residual blocks in the order they are applied; the first of each later stage halves the size."""
        in_channels = self.stem_convolutions[-1].out_channels
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
                    stage=stage,
                    index=index,
                )
                in_channels = out_channels

    def stages(self) -> dict[str, list[Block]]:
        """The blocks of each stage by its attribute name: `layer1`, `layer2`, ..."""
        stages: dict[str, list[Block]] = {}
        for block in self.blocks():
            stages.setdefault(f"layer{block.stage}", []).append(block)
        return stages

    def function_key(self) -> tuple[object, ...]:
        """All that the logits depend on: two architectures that compute the same may differ in name and dropout."""
        return self.stem_convolutions, self.max_pool, tuple(self.blocks()), self.num_classes

    @property
    def _conv_bias(self) -> bool:
        return self.conv_bias or self.folded

    def _mid_channels(self, width: int) -> int:
        return width * self.base_width // 64 * self.groups

    def _squeezed(self, channels: int) -> int:
        return squeezed_channels(channels, self.squeeze.reduction, self.squeeze.rounding) if self.se else 0


_FIELDS = [*(known.name for known in fields(Architecture)), *SHORTHANDS]


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def config_differences(one: Architecture, other: Architecture) -> dict[str, tuple[object, object]]:
    """The facts, by dotted name, that the two do not share; the name is no fact of what is computed."""
    mine, theirs = _flat(one.to_dict()), _flat(other.to_dict())
    return {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name] and name != "name"}


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in config.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
