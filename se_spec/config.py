"""The groups of an architecture's facts, Stem, Shortcut and Squeeze, and the words that stand for some of them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

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
from se_spec.layers import POOLS

SQUEEZES = {
    "floor": lambda channels, reduction: channels // reduction,
    "round8": lambda channels, reduction: max(8, (channels // reduction + 4) // 8 * 8),
    "constant": lambda channels, reduction: reduction,
}
"""How the squeezed width comes from the channels: the paper's C / r; timm's C / r rounded to a multiple of 8; or
`reduction` itself in every stage, as NVIDIA and the first senet.pytorch have it."""


def squeezed_channels(channels: int, reduction: int, rounding: str = "floor") -> int:
    """Width of the SE bottleneck: C / r (paper, section 3.2), as `rounding` says."""
    if reduction > channels:
        raise ArchitectureError(
            f"reduction must be at most the number of channels: got reduction {reduction} for {channels} channels"
        )
    return SQUEEZES[rounding](channels, reduction)


@dataclass(frozen=True)
class Stem:
    """What comes before the blocks: convolutions, the first of which has the stride, and a max-pool.

    `inner` are the widths of the convolutions before the last, whose width is `width`, or the first stage's where that
    is 0. One of 7x7 is the paper's; three of 3x3 are the deep stem of ResNet-D and SENet-154. `pool` is one of POOLS.
    """

    kernel: int = 7
    inner: tuple[int, ...] = ()
    width: int = 0
    stride: int = 2
    pool: str = "pad1"

    def __post_init__(self) -> None:
        expect_one_of((7, 3), stem_kernel=self.kernel)
        expect_one_of((1, 2), stem_stride=self.stride)
        expect_one_of(POOLS, stem_pool=self.pool)
        expect_counts(stem_inner=self.inner)
        expect_count_or_zero(stem_width=self.width)


@dataclass(frozen=True)
class Shortcut:
    """How a block's input reaches the sum where it cannot as it is: a convolution of `kernel` (1x1 where nothing
    strides), which strides itself unless it `averages` 2x2 windows first (ResNet-D). `where`: `needed`, where the
    shapes differ; `stages`, in the first block of every stage; `blocks`, in every block."""

    kernel: int = 1
    averages: bool = False
    where: str = "needed"

    def __post_init__(self) -> None:
        expect_one_of((1, 3), shortcut_kernel=self.kernel)
        expect_kind(bool, shortcut_averages=self.averages)
        expect_one_of(("needed", "stages", "blocks"), shortcut_where=self.where)


@dataclass(frozen=True)
class Squeeze:
    """The SE blocks: C / `reduction` channels, as `rounding` (one of SQUEEZES) says. `after_relu` puts a ReLU between
    the last norm and the squeeze, as timm's legacy SE-ResNet-18 and 34 were trained."""

    reduction: int = 16
    rounding: str = "floor"
    bias: bool = False
    after_relu: bool = False

    def __post_init__(self) -> None:
        expect_count(reduction=self.reduction)
        expect_one_of(SQUEEZES, squeeze=self.rounding)
        expect_kind(bool, se_bias=self.bias, squeeze_after_relu=self.after_relu)


SHORTHANDS = {"reduction": ("squeeze", "reduction"), "se_bias": ("squeeze", "bias")}
"""Facts of a group that have a name of their own."""

GROUPS: dict[str, type] = {"stem": Stem, "shortcut": Shortcut, "squeeze": Squeeze}
"""The groups by the name of the fact that holds them."""

_WORDS = {
    "stem": {
        "7x7": asdict(Stem()),
        "3x3": asdict(Stem(kernel=3, stride=1, pool="none")),
    },
    "squeeze": {rounding: {"rounding": rounding} for rounding in SQUEEZES},
}
"""Words that stand for several facts of a group. `7x7`: stride 2 and a max-pool (ImageNet). `3x3`: neither (CIFAR)."""


def grouped(groups: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The facts with each group whole: the given one, with what the facts change in it."""
    for shorthand, (group, name) in SHORTHANDS.items():
        if shorthand in config:
            config = {**config, group: {**_as_config(group, config.get(group, {})), name: config[shorthand]}}
    return {
        name: _changed(groups[name], _as_config(name, value)) if name in groups else value
        for name, value in config.items()
        if name not in SHORTHANDS
    }


def _as_config(group: str, value: Any) -> Mapping[str, Any]:
    """The facts of a group that a value gives: a group gives all, a mapping some, a word those it stands for."""
    words = _WORDS.get(group, {})
    if isinstance(value, str) and value in words:
        return words[value]
    if isinstance(value, Stem | Shortcut | Squeeze) and isinstance(value, GROUPS[group]):
        return asdict(value)
    expect(isinstance(value, Mapping), group, "one of " + ", ".join([*words, GROUPS[group].__name__]), value)
    refuse_unknown(value, [known.name for known in fields(GROUPS[group])])
    return value


def _changed(group: Any, config: Mapping[str, Any]) -> Any:
    return replace(group, **{name: tupled(value) for name, value in config.items()})


def tupled(value: Any) -> Any:
    """A value that may come from JSON, which has no tuples."""
    return tuple(value) if isinstance(value, list) else value
