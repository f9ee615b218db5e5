"""Architecture and Block: every width, stride and kernel of an SE-ResNet is computed here, once.

The models translate these facts into their framework's layers; they never calculate.
Sources: Squeeze-and-Excitation Networks (arXiv 1709.01507) for SE; Deep Residual Learning
(arXiv 1512.03385), table 1 and section 4.2, for the ResNets; torchvision's ResNet for the stride in the 3x3.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

BATCH_NORM_EPSILON = 1e-5
"""Added to the variance before its square root is taken (torchvision, the Caffe default)."""

BATCH_NORM_MOMENTUM = 0.1
"""Weight of the new batch in the running statistics (torch's convention; Keras and Flax write 1 minus it)."""

EXPANSION = {"basic": 1, "bottleneck": 4}
"""Output channels of a block, per unit of its stage's width."""

STEM_KERNEL = {"7x7": 7, "3x3": 3}
"""`7x7`: stride 2, then a 3x3 max-pool (ImageNet). `3x3`: stride 1 and no pool (CIFAR)."""

IMAGE_SIZE = {"7x7": 224, "3x3": 32}
"""Side in pixels of the square images that the papers quote a network's cost for."""

SQUEEZES = {
    "floor": lambda channels, reduction: channels // reduction,
    "round8": lambda channels, reduction: max(8, (channels // reduction + 4) // 8 * 8),
}
"""How the squeezed width comes from the channels: the paper's C / r, or timm's C / r rounded to a multiple of 8."""


class ArchitectureError(ValueError):
    """An unknown architecture, or a fact that no SE-ResNet can have."""


def squeezed_channels(channels: int, reduction: int, squeeze: str = "floor") -> int:
    """Width of the SE bottleneck: C / r (paper, section 3.2), as `squeeze` rounds it."""
    if reduction > channels:
        raise ArchitectureError(
            f"reduction must be at most the number of channels: got reduction {reduction} for {channels} channels"
        )
    return SQUEEZES[squeeze](channels, reduction)


@dataclass(frozen=True)
class Convolution:
    """A bias-free square convolution, padded alike on every side so that stride 1 keeps the size."""

    in_channels: int
    out_channels: int
    kernel: int
    stride: int = 1

    @property
    def padding(self) -> int:
        """Zeros on each side of each spatial axis."""
        return self.kernel // 2


@dataclass(frozen=True)
class MaxPool:
    """A square max-pool, padded alike on every side with minus infinity."""

    kernel: int
    stride: int

    @property
    def padding(self) -> int:
        return self.kernel // 2


@dataclass(frozen=True)
class Block:
    """One residual block with its numbers worked out. `stage` counts from 1, `index` from 0, as in `layer3.0`."""

    kind: str
    in_channels: int
    mid_channels: int
    out_channels: int
    stride: int = 1
    squeezed_channels: int = 0
    se_bias: bool = False
    stage: int = 1
    index: int = 0

    @property
    def name(self) -> str:
        """The block's canonical path, such as `layer3.0`."""
        return f"layer{self.stage}.{self.index}"

    @property
    def has_se(self) -> bool:
        return self.squeezed_channels > 0

    @property
    def projects(self) -> bool:
        """Whether the shortcut is a 1x1 convolution, because the identity would not fit the sum."""
        return self.stride != 1 or self.in_channels != self.out_channels

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        """`conv1`, `conv2` (and a bottleneck's `conv3`) of the residual branch, in the order they are applied."""
        if self.kind == "basic":
            return (
                Convolution(self.in_channels, self.mid_channels, kernel=3, stride=self.stride),
                Convolution(self.mid_channels, self.out_channels, kernel=3),
            )
        return (
            Convolution(self.in_channels, self.mid_channels, kernel=1),
            Convolution(self.mid_channels, self.mid_channels, kernel=3, stride=self.stride),
            Convolution(self.mid_channels, self.out_channels, kernel=1),
        )

    @property
    def projection(self) -> Convolution | None:
        """The convolution of the shortcut, or None where the shortcut is the identity."""
        if not self.projects:
            return None
        return Convolution(self.in_channels, self.out_channels, kernel=1, stride=self.stride)


@dataclass(frozen=True)
class Architecture:
    """The facts of one network. Everything else about it follows from them."""

    name: str
    block: str
    depths: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem: str = "7x7"
    se: bool = True
    reduction: int = 16
    squeeze: str = "floor"
    se_bias: bool = False
    num_classes: int = 1000
    in_channels: int = 3

    def __post_init__(self) -> None:
        for fact, kind in (
            ("name", str),
            ("block", str),
            ("stem", str),
            ("squeeze", str),
            ("se", bool),
            ("se_bias", bool),
        ):
            _expect(isinstance(getattr(self, fact), kind), fact, f"a {kind.__name__}", getattr(self, fact))
        for fact, known in (("block", EXPANSION), ("stem", STEM_KERNEL), ("squeeze", SQUEEZES)):
            _expect(getattr(self, fact) in known, fact, "one of " + ", ".join(known), getattr(self, fact))
        for fact in ("reduction", "num_classes", "in_channels"):
            _expect(_is_count(getattr(self, fact)), fact, "a positive integer", getattr(self, fact))
        for fact in ("depths", "widths"):
            value = getattr(self, fact)
            _expect(
                isinstance(value, tuple) and len(value) > 0 and all(map(_is_count, value)),
                fact,
                "a tuple of positive integers, one a stage",
                value,
            )
        if len(self.depths) != len(self.widths):
            raise ArchitectureError(
                f"depths and widths must name the same stages: got depths={self.depths} and widths={self.widths}"
            )
        if self.se:
            squeezed_channels(self.widths[0] * EXPANSION[self.block], self.reduction, self.squeeze)

    @property
    def facts(self) -> dict[str, Any]:
        """Every fact by name, in a form that JSON keeps."""
        return {fact: list(value) if isinstance(value, tuple) else value for fact, value in asdict(self).items()}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "Architecture":
        """The architecture whose `facts` these are; facts left out take their defaults."""
        known = {field.name: field for field in fields(cls)}
        refuse_unknown_facts(facts, list(known))
        absent = [name for name, field in known.items() if field.default is MISSING and name not in facts]
        if absent:
            raise ArchitectureError(f"an architecture needs the facts {', '.join(absent)}")
        given: dict[str, Any] = {
            fact: tuple(value) if isinstance(value, list) else value for fact, value in facts.items()
        }
        return cls(**given)

    @property
    def conv1(self) -> Convolution:
        """The convolution of the stem."""
        return Convolution(self.in_channels, self.widths[0], STEM_KERNEL[self.stem], stride=2 if self.max_pool else 1)

    @property
    def max_pool(self) -> MaxPool | None:
        """The pool of the stem, where it has one."""
        return MaxPool(kernel=3, stride=2) if self.stem == "7x7" else None

    @property
    def image_size(self) -> int:
        """Side of the images the papers use with this stem; the network itself takes any size."""
        return IMAGE_SIZE[self.stem]

    @property
    def features(self) -> int:
        """Channels of the pooled features that the classifier sees."""
        return self.widths[-1] * EXPANSION[self.block]

    def blocks(self) -> Iterator[Block]:
        """The residual blocks in the order they are applied; the first of each later stage halves the size."""
        in_channels = self.conv1.out_channels
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), start=1):
            out_channels = width * EXPANSION[self.block]
            for index in range(depth):
                yield Block(
                    kind=self.block,
                    in_channels=in_channels,
                    mid_channels=width,
                    out_channels=out_channels,
                    stride=2 if stage > 1 and index == 0 else 1,
                    squeezed_channels=squeezed_channels(out_channels, self.reduction, self.squeeze) if self.se else 0,
                    se_bias=self.se_bias,
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


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _expect(holds: bool, fact: str, expected: str, got: object) -> None:
    if not holds:
        raise ArchitectureError(f"{fact} must be {expected}: got {got!r}")


def nearest(word: str, known: list[str]) -> str:
    """The end of a sentence about an unknown word: what may have been meant, or all that is known."""
    near = difflib.get_close_matches(word, known, n=3)
    return f"; did you mean {' or '.join(near)}?" if near else f"; known: {', '.join(known)}"


def refuse_unknown_facts(facts: Mapping[str, Any], known: list[str]) -> None:
    """Raise ArchitectureError for the first fact that is none of the known ones."""
    for fact in facts:
        if fact not in known:
            raise ArchitectureError(f"an architecture has no fact {fact!r}{nearest(str(fact), known)}")
