"""The groups of an architecture's fields (Stem, Shortcut, Squeeze), and the words that stand for some of them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from se_spec.architecture import as_tuple
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
from se_spec.layers import ALIGNMENTS
from se_spec.squeeze import GATES, SQUEEZES


@dataclass(frozen=True)
class Stem:
    """The layers before the first stage: one convolution or a deep stem of three, and a pool.

    Attributes:
        kernel: height and width of the convolutions: 7 (the paper's single one) or 3.
        inner: output channels of the first two convolutions of a deep stem; empty for a single convolution.
        width: output channels of the last convolution; 0 for the first stage's width.
        stride: stride of the first convolution.
        pool: alignment of the 3x3 max-pool, one of ALIGNMENTS; "none" for no pool (CIFAR); or "convolution" for a 3x3
            convolution of stride 2, a norm and a ReLU after a deep stem (ResNet-RS, arXiv 2103.07579).
        norm: whether a norm and a ReLU follow each convolution; a single convolution may have neither.
    """

    kernel: int = 7
    inner: tuple[int, ...] = ()
    width: int = 0
    stride: int = 2
    pool: str = "pad1"
    norm: bool = True

    def __post_init__(self) -> None:
        expect_one_of((7, 3), stem_kernel=self.kernel)
        expect_one_of((1, 2), stem_stride=self.stride)
        expect_one_of((*ALIGNMENTS, "none", "convolution"), stem_pool=self.pool)
        expect_counts(stem_inner=self.inner)
        expect(len(self.inner) in (0, 2), "stem_inner", "empty, or two widths (a deep stem)", self.inner)
        expect_count_or_zero(stem_width=self.width)
        expect_kind(bool, stem_norm=self.norm)
        if self.pool == "convolution" and not self.inner:
            raise ArchitectureError('the stem\'s pool "convolution" needs a deep stem, with two widths as `inner`')
        if self.inner and not self.norm:
            raise ArchitectureError("a deep stem has norms; only a stem of one convolution may have none")

    @property
    def pools(self) -> bool:
        """Whether a pool, or a convolution in its place, halves height and width in the end (ImageNet)."""
        return self.pool != "none"

    @property
    def has_max_pool(self) -> bool:
        """Whether that is a max-pool, which has an alignment."""
        return self.pool in ALIGNMENTS


@dataclass(frozen=True)
class Shortcut:
    """How a block's input reaches the sum.

    Attributes:
        kernel: height and width of the projecting convolution where it strides: 1, or 3 (SENet-154).
        averages: whether a 2x2 mean before the projection strides in its place (ResNet-D).
        where: "needed" to project where the shapes differ, "stages" in the first block of every stage, "blocks" in
            every block.
        norm: whether a norm follows the convolution.
    """

    kernel: int = 1
    averages: bool = False
    where: str = "needed"
    norm: bool = True

    def __post_init__(self) -> None:
        expect_one_of((1, 3), shortcut_kernel=self.kernel)
        expect_kind(bool, shortcut_averages=self.averages, shortcut_norm=self.norm)
        expect_one_of(("needed", "stages", "blocks"), shortcut_where=self.where)


@dataclass(frozen=True)
class Squeeze:
    """The SE layers of the blocks, or the ECA layers in their place.

    Attributes:
        reduction: the reduction ratio r of the paper.
        rounding: how the squeezed width follows from C and r, one of SQUEEZES.
        bias: whether the two fully connected layers have biases; the paper's have none.
        after_relu: whether a ReLU stands between the last norm and the squeeze, as timm's legacy SE-ResNet-18 and 34
            were trained.
        gate: how the gates are computed, one of GATES: "fc" by the two layers of an SE layer, or "eca" by a convolution
            over the channels, which has none of the other settings but `after_relu` (ECA-Net, arXiv 1910.03151).
    """

    reduction: int = 16
    rounding: str = "floor"
    bias: bool = False
    after_relu: bool = False
    gate: str = "fc"

    def __post_init__(self) -> None:
        expect_one_of(GATES, squeeze_gate=self.gate)
        expect_count(reduction=self.reduction)
        expect_one_of(SQUEEZES, squeeze=self.rounding)
        expect_kind(bool, se_bias=self.bias, squeeze_after_relu=self.after_relu)
        if self.gate == "eca" and (self.reduction, self.rounding, self.bias) != (16, "floor", False):
            raise ArchitectureError(
                "reduction, se_bias and the rounding of the squeeze are for SE layers; ECA layers have none of them"
            )


SHORTHANDS = {"reduction": ("squeeze", "reduction"), "se_bias": ("squeeze", "bias")}
"""Fields of a group that can be named without it."""

GROUPS: dict[str, type] = {"stem": Stem, "shortcut": Shortcut, "squeeze": Squeeze}
"""The groups by the name of the field that holds them."""

_WORDS = {
    "stem": {
        "7x7": asdict(Stem()),
        "3x3": asdict(Stem(kernel=3, stride=1, pool="none")),
    },
    "squeeze": {**{rounding: {"rounding": rounding} for rounding in SQUEEZES}, "eca": {"gate": "eca"}},
}
"""Words that stand for several fields of a group. `7x7`: stride 2 and a max-pool (ImageNet). `3x3`: neither (CIFAR).
`eca`: ECA layers."""


def with_groups(groups: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with its shorthands resolved and every group as an object.

    Args:
        groups: the Stem, Shortcut and Squeeze to change, by field name.
        config: fields by name, where a group may be an object, a mapping of its fields, or one of its words.
    """
    for shorthand, (group, name) in SHORTHANDS.items():
        if shorthand in config:
            config = {**config, group: {**_group_config(group, config.get(group, {})), name: config[shorthand]}}
    return {
        name: _changed(groups[name], _group_config(name, value)) if name in groups else value
        for name, value in config.items()
        if name not in SHORTHANDS
    }


def group_word(group: str, before: Any, after: Any) -> str | None:
    """The word that changes one value of a group into another, or None; fields with shorthands are left out.

    Args:
        group: the name of the field that holds the group.
        before: the group to change.
        after: the group that the word should give.
    """
    shorthands = {name for holder, name in SHORTHANDS.values() if holder == group}
    compared = [own.name for own in fields(after) if own.name not in shorthands]
    for word, config in _WORDS.get(group, {}).items():
        changed = _changed(before, config)
        if all(getattr(changed, name) == getattr(after, name) for name in compared):
            return word
    return None


def _group_config(group: str, value: Any) -> Mapping[str, Any]:
    """The fields of a group that a value sets: an object sets all, a mapping its keys, a word those in _WORDS."""
    words = _WORDS.get(group, {})
    if isinstance(value, str) and value in words:
        return words[value]
    if isinstance(value, Stem | Shortcut | Squeeze) and isinstance(value, GROUPS[group]):
        return asdict(value)
    expect(isinstance(value, Mapping), group, "one of " + ", ".join([*words, GROUPS[group].__name__]), value)
    refuse_unknown(value, [own.name for own in fields(GROUPS[group])])
    return value


def _changed(group: Any, config: Mapping[str, Any]) -> Any:
    return replace(group, **{name: as_tuple(value) for name, value in config.items()})
