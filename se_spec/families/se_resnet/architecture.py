"""SEResNetArchitecture: every width, stride and kernel of the blocks of an SE-ResNet is computed here, once.

Sources: Squeeze-and-Excitation Networks (arXiv 1709.01507) for SE and SENet-154; Deep Residual Learning
(arXiv 1512.03385), table 1 and section 4.2, for the ResNets; Aggregated Residual Transformations (arXiv 1611.05431) for
the groups; Bag of Tricks (arXiv 1812.01187), figure 2, for the deep stem and the averaging shortcut of ResNet-D;
ECA-Net (arXiv 1910.03151) for its gates; ResNet-RS (arXiv 2103.07579) for the convolution in the place of a pool;
Identity Mappings (arXiv 1603.05027) for the order "pre".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from se_spec.architecture import Architecture, StageOutput, as_tuple, config_differences
from se_spec.errors import ArchitectureError, expect, expect_count, expect_counts, expect_kind, expect_one_of
from se_spec.families.se_resnet.block import EXPANSION, Block
from se_spec.families.se_resnet.config import (
    GROUPS,
    SHORTHANDS,
    Shortcut,
    Squeeze,
    Stem,
    group_word,
    with_groups,
)
from se_spec.families.se_resnet.graph import se_resnet_graph
from se_spec.graph import Graph
from se_spec.layers import ANTIALIASES, BATCH_NORM_EPSILON, AveragePool, BatchNorm, BlurPool, Convolution, MaxPool
from se_spec.squeeze import squeezed_channels

MOST_STAGES = 4
"""Stages of the deepest published networks; the models have the attributes `layer1` to `layer4`."""


@dataclass(frozen=True, kw_only=True)
class SEResNetArchitecture(Architecture):
    """The configuration of one SE-ResNet: what every Architecture has, and these fields.

    Attributes:
        block: "basic" (two 3x3 convolutions) or "bottleneck" (1x1, 3x3, 1x1).
        depths: number of blocks of each stage, for one to four stages.
        widths: width of each stage; a bottleneck has four times as many output channels.
        stem: the layers before the first stage.
        shortcut: how a block's input reaches the sum where its shape differs.
        se: whether the blocks have SE layers.
        squeeze: the SE layers' squeezed width, biases and place; or ECA layers in their place.
        groups: groups of a bottleneck's 3x3 convolution (ResNeXt's cardinality).
        base_width: channels of each group at stage width 64; the 3x3 has width * base_width / 64 * groups channels.
        reduce_first: 1, or 2 to halve the channels of a bottleneck's first 1x1 (SENet-154).
        antialias: the pool that strides in the place of a block's 3x3 and of the stem's max-pool: "none", "mean" (of
            2x2; the stem has no max-pool then) or "blur" (arXiv 1904.11486; after the stem's max-pool).
        stride_in: the convolution of a bottleneck that strides: "conv1" (its first 1x1) or "conv2" (its 3x3).
        output_stride: how many pixels of the image lie between two features of the last stage at most: 32, or 16 or 8
            for segmentation; a stage that would exceed it is dilated in the place of its stride (arXiv 1706.05587).
        dilates_first: whether the first block of a dilated stage has the dilation of its stage, as in
            segmentation_models_pytorch, and not that of the stage before, as in torchvision and timm.
        conv_bias: whether the convolutions have biases beside their norms.
        order: "post" where norm and ReLU come after each convolution of a block, or "pre" where they come before it
            (arXiv 1603.05027).
        shared_norms: whether one norm comes after both convolutions of a basic block, or after the first two of a
            bottleneck; both update its running statistics in training (YichaoCai1's torch_backbones).
        final_norm: whether a norm and a ReLU follow the last block; for the order "pre" only.
        input_norm: whether a norm without gain comes before the stem.
        dropout: fraction of the pooled features that is dropped before the classifier in training.
        drop_path: probability with which the residual of the last block is dropped in training; it rises linearly
            from 0 at the first block (stochastic depth, arXiv 1603.09382).

    Raises:
        ArchitectureError: for a value that no network can have, in a sentence that names the field.
    """

    family: ClassVar[str] = "se_resnet"

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
    antialias: str = "none"
    stride_in: str = "conv2"
    output_stride: int = 32
    dilates_first: bool = False
    conv_bias: bool = False
    order: str = "post"
    shared_norms: bool = False
    final_norm: bool = False
    input_norm: bool = False
    dropout: float = 0.0
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        expect_kind(str, block=self.block)
        expect_one_of(EXPANSION, block=self.block)
        expect_kind(bool, se=self.se, conv_bias=self.conv_bias)
        expect_kind(bool, shared_norms=self.shared_norms, final_norm=self.final_norm, input_norm=self.input_norm)
        expect_one_of(("post", "pre"), order=self.order)
        expect_kind(float, dropout=self.dropout, drop_path=self.drop_path)
        expect(0 <= self.dropout < 1, "dropout", "at least 0 and below 1", self.dropout)
        expect(0 <= self.drop_path < 1, "drop_path", "at least 0 and below 1", self.drop_path)
        expect_count(groups=self.groups, base_width=self.base_width)
        expect_one_of((1, 2), reduce_first=self.reduce_first)
        expect_one_of(("conv1", "conv2"), stride_in=self.stride_in)
        expect_one_of(ANTIALIASES, antialias=self.antialias)
        expect_kind(bool, dilates_first=self.dilates_first)
        expect_one_of((32, 16, 8), output_stride=self.output_stride)
        if self.output_stride != 32 and (
            self.antialias != "none" or self.shortcut.averages or self.shortcut.kernel != 1
        ):
            raise ArchitectureError(
                "output_stride is below 32 only without anti-aliasing, and without a mean or 3x3 in the shortcuts"
            )
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
        if self.antialias != "none" and (self.stride_in, self.stem.pool) not in (("conv2", "pad1"), ("conv2", "none")):
            raise ArchitectureError(
                'antialias needs stride_in="conv2" and a stem with the pool "pad1" or "none": got '
                f"stride_in={self.stride_in!r} and the pool {self.stem.pool!r}"
            )
        if self.dilates_first and self.output_stride == 32:
            raise ArchitectureError("dilates_first is for an output_stride below 32")
        if self.order == "post" and self.final_norm:
            raise ArchitectureError('final_norm is for the order "pre"; after it, the last block ends with a ReLU')
        if self.shared_norms and (self.order, self.reduce_first) != ("post", 1):
            raise ArchitectureError('shared_norms are for the order "post", and need reduce_first=1')
        if self.order == "pre" and (self.antialias != "none" or self.squeeze.after_relu):
            raise ArchitectureError('antialias and a ReLU before the squeeze are for the order "post"')
        for width in self.widths:
            self._squeezed(width * EXPANSION[self.block])
            mid = self._mid_channels(width)
            if not mid or mid // self.reduce_first % self.groups:
                raise ArchitectureError(f"groups must divide the widths: got {self.groups} groups for {mid} channels")

    @classmethod
    def settings(cls) -> list[str]:
        return [*super().settings(), *SHORTHANDS]

    @classmethod
    def resolved(cls, config: Mapping[str, Any], network: Self | None = None) -> Mapping[str, Any]:
        """The values of fields, from settings that may be written in a shorter way.

        Args:
            config: settings by name. A group (`stem`, `shortcut`, `squeeze`) may be given as a mapping of the fields
                to change in it, or as a word such as "3x3"; `reduction` and `se_bias` are fields of `squeeze` that can
                be named directly.
            network: the architecture whose groups are changed; by default they are changed from their defaults.
        """
        groups = {group: getattr(network, group) if network else kind() for group, kind in GROUPS.items()}
        return with_groups(groups, config)

    def settings_from(self, named: Self) -> dict[str, Any]:
        shorthands = {".".join(place): word for word, place in SHORTHANDS.items()}
        settings: dict[str, Any] = {}
        for setting, (value, _) in config_differences(self, named).items():
            group, _, name = shorthands.get(setting, setting).partition(".")
            if name:
                settings.setdefault(group, {})[name] = as_tuple(value)
            else:
                settings[group] = as_tuple(value)
        for group, value in settings.items():
            if isinstance(value, dict):
                settings[group] = group_word(group, getattr(named, group), getattr(self, group)) or value
        return settings

    def initial_options(self, zero_init_residual: bool) -> dict[str, bool]:
        return {"zero_init_residual": zero_init_residual}

    def make_graph(self) -> Graph:
        return se_resnet_graph(self)

    @property
    def has_se(self) -> bool:
        return self.se

    @property
    def variants(self) -> frozenset[str]:
        """What the network has that few code bases have beside the ResNets, ResNeXts and SENets of the papers."""
        has = {
            "eca": self._has_eca,
            "pool convolution": self.stem.pool == "convolution",
            "pre-activation": self.order == "pre",
            "shared norms": self.shared_norms,
            "final norm": self.final_norm,
            "input norm": self.input_norm,
            "dilation": self.output_stride < 32,
            "stem without norm": not self.stem.norm,
            "shortcut without norm": not self.shortcut.norm,
        }
        return frozenset(variant for variant, present in has.items() if present)

    def without_dropout(self) -> Self:
        return self.replace(dropout=0.0, drop_path=0.0)

    def with_folded_norms(self) -> Self:
        """As in every Architecture; without any norm, the settings of biases and norms have their defaults."""
        if self.order == "pre" or self.input_norm or not (self.stem.norm and self.shortcut.norm):
            return self.replace(folded=True, shared_norms=False)
        return self.replace(folded=True, conv_bias=False, shared_norms=False, bn_epsilon=BATCH_NORM_EPSILON)

    @property
    def depth(self) -> int:
        return sum(self.depths)

    @property
    def sizes(self) -> tuple[object, ...]:
        stem = self.stem.inner, self.stem.width or self.widths[0], self.stem.pool == "convolution"
        groups = self.groups, self.base_width, self.reduce_first
        gate = self.squeeze.gate if self.se else ""
        settings = self.shortcut.kernel, self.antialias, self.order, self.shared_norms
        return self.block, self.depths, self.widths, gate, stem, groups, *settings

    @property
    def stem_convolutions(self) -> tuple[Convolution, ...]:
        """The convolutions of the stem: `conv1`; `conv2` and `conv3` of a deep stem; `conv4` in the place of a pool."""
        width = self.stem.width or self.widths[0]
        pool = self.stem.pool == "convolution"
        widths = (self.in_channels, *self.stem.inner, width, *[width] * pool)
        strides = (self.stem.stride, *[1] * len(self.stem.inner), *[2] * pool)
        folded = self.folded and self.stem.norm
        options = {"bias": self.conv_bias or folded, "folded": folded}
        return tuple(
            Convolution(inputs, outputs, self.stem.kernel, stride, **options)
            for inputs, outputs, stride in zip(widths, widths[1:], strides, strict=False)
        )

    @property
    def bn0(self) -> BatchNorm | None:
        """The norm of the images, or None where there is none."""
        return BatchNorm(self.in_channels, self.bn_epsilon, gamma=False) if self.input_norm else None

    @property
    def norm(self) -> BatchNorm | None:
        """The norm after the last block, which a ReLU follows, or None where there is none."""
        return BatchNorm(self.features, self.bn_epsilon) if self.final_norm else None

    @property
    def max_pool(self) -> MaxPool | None:
        """The max-pool of the stem, or None where it has none; it does not stride where a blur does."""
        if not self.stem.has_max_pool or self.antialias == "mean":
            return None
        return MaxPool(self.stem.pool, stride=1 if self.antialias == "blur" else 2)

    @property
    def aa(self) -> AveragePool | BlurPool | None:
        """The pool of the stem in the place of its max-pool or after it, or None; a last odd row is left out."""
        pool = ANTIALIASES[self.antialias] if self.stem.pools else None
        return replace(pool, ceil=False) if isinstance(pool, AveragePool) else pool

    @property
    def smallest_side(self) -> int:
        """As in every Architecture: an unpadded pool needs one complete window, and reflection two values a side."""
        if self.antialias == "blur":
            return [*self.stage_outputs.values()][-1].stride // 2 + 1
        unpadded = self.stem.pool == "ceil" or (self.stem.pools and self.antialias == "mean")
        return 3 if unpadded else 1

    @property
    def image_size(self) -> int:
        """Height and width in pixels of the images that the papers use with this stem; any size can be run."""
        return 224 if self.stem.pools else 32

    @property
    def features(self) -> int:
        """Channels of the pooled features that the classifier takes."""
        return self.widths[-1] * EXPANSION[self.block]

    @property
    def stage_outputs(self) -> dict[str, StageOutput]:
        """The channels and the stride of the features that the stem and each stage give, by the models' attributes."""
        stride = self.stem.stride * (2 if self.stem.pools else 1)
        outputs = {"stem": StageOutput(self.stem_convolutions[-1].out_channels, stride)}
        for block in self.blocks():
            stride *= block.stride
            outputs[f"layer{block.stage}"] = StageOutput(block.out_channels, stride)
        return outputs

    def blocks(self) -> Iterator[Block]:
        """The residual blocks in the order they are applied; the first of each later stage halves height and width."""
        in_channels = self.stem_convolutions[-1].out_channels
        before = 0
        reached = self.stem.stride * (2 if self.stem.pools else 1)
        dilation = previous = 1
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), start=1):
            mid_channels = self._mid_channels(width)
            out_channels = width * EXPANSION[self.block]
            strides = stage > 1 and reached < self.output_stride
            if strides:
                reached *= 2
            elif stage > 1:
                dilation *= 2
            for index in range(depth):
                stride = 2 if strides and index == 0 else 1
                yield Block(
                    kind=self.block,
                    in_channels=in_channels,
                    mid_channels=mid_channels,
                    out_channels=out_channels,
                    stride=stride,
                    first_channels=mid_channels // self.reduce_first,
                    groups=self.groups,
                    antialias=self.antialias if stride != 1 else "none",
                    stride_in=self.stride_in,
                    dilation=dilation,
                    first_dilation=dilation if index or self.dilates_first else previous,
                    conv_bias=self.conv_bias,
                    folded=self.folded,
                    always_projects=self.shortcut.where == "blocks" or (self.shortcut.where == "stages" and index == 0),
                    shortcut_kernel=self.shortcut.kernel if stride != 1 else 1,
                    shortcut_norm=self.shortcut.norm,
                    order=self.order,
                    shared_norm=self.shared_norms,
                    averages=self.shortcut.averages and stride != 1,
                    squeezed_channels=self._squeezed(out_channels),
                    se_bias=self.se and self.squeeze.bias,
                    has_eca=self._has_eca,
                    relu_before_se=self.se and self.squeeze.after_relu,
                    epsilon=0.0 if self.folded and self.order == "post" else self.bn_epsilon,
                    drop_path=self.drop_path * before / max(1, sum(self.depths) - 1),
                    stage=stage,
                    index=index,
                )
                in_channels = out_channels
                before += 1
            previous = dilation

    def stage(self, number: int) -> list[Block]:
        """The blocks of one stage.

        Args:
            number: the stage, from 1 to 4; one that the network does not have has no blocks.
        """
        return [block for block in self.blocks() if block.stage == number]

    def function_key(self) -> tuple[object, ...]:
        """A key of the function that is computed, without the name and what is dropped in training."""
        blocks = replace(self, drop_path=0.0).blocks()
        stem = self.bn0, self.stem_convolutions, self.stem.norm, self.max_pool, self.aa
        return *stem, tuple(blocks), self.norm, self.num_classes

    @property
    def _has_eca(self) -> bool:
        return self.se and self.squeeze.gate == "eca"

    def _mid_channels(self, width: int) -> int:
        return width * self.base_width // 64 * self.groups

    def _squeezed(self, channels: int) -> int:
        if not self.se or self._has_eca:
            return 0
        return squeezed_channels(channels, self.squeeze.reduction, self.squeeze.rounding)
