"""SEDenseNetArchitecture: every width of an SE-DenseNet is computed here, once.

Sources: Densely Connected Convolutional Networks (arXiv 1608.06993), table 1 and section 3; torchvision's densenet.py
for names and defaults. The SE paper has no DenseNet: published code puts the SE layers in different places, which are
`se_places`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, ClassVar, Self

from se_spec.architecture import Architecture, StageOutput
from se_spec.errors import ArchitectureError, expect, expect_count, expect_counts, expect_kind, expect_one_of
from se_spec.families.se_densenet.graph import se_densenet_graph
from se_spec.families.se_densenet.layers import DenseLayer, Transition
from se_spec.graph import Graph
from se_spec.layers import Convolution, MaxPool
from se_spec.squeeze import SqueezeExcitation

MOST_BLOCKS = 4
"""Dense blocks of the deepest published networks; the models have the attributes `denseblock1` to `denseblock4`."""

STEMS = ("7x7", "3x3", "3x3_norm")
"""`7x7`: stride 2, norm, ReLU and max-pool (ImageNet). `3x3`: a convolution alone (CIFAR). `3x3_norm`: with a norm and
a ReLU (ClassyVision, for small images)."""

SE_PLACES = ("stem", "block", "input", "layer", "concat", "transition", "last")
"""Where SE layers stand, in the order in which a network applies them: after the stem; before each dense block; before
the first norm of each layer, on the concatenated features, which the next layer takes without it; on the new features
of each layer; on the features after each layer, old and new; before the norm of each transition; after the last norm,
before the ReLU."""


@dataclass(frozen=True, kw_only=True)
class SEDenseNetArchitecture(Architecture):
    """The configuration of one SE-DenseNet: what every Architecture has, and these fields.

    Attributes:
        block_config: number of layers of each dense block, for one to four blocks.
        growth_rate: channels of the new features of each layer (k of the paper).
        num_init_features: channels of the stem's output.
        compression: a transition has this share of its input's channels, rounded down (theta of the paper).
        bn_size: channels between the convolutions of a layer, as a multiple of the growth rate.
        stem: the layers before the first block, one of STEMS. `small_inputs=True` stands for "3x3".
        se_places: where the SE layers stand, some of SE_PLACES; empty for none. `se=True` stands for ("layer",).
        reduction: the reduction ratio r of the SE layers.
        se_bias: whether their two fully connected layers have biases; the paper's have none.
        empty_squeeze: whether an SE layer may have a squeezed width of 0, whose gates do not depend on its input; files
            of networks with a growth rate below the reduction ratio have such layers.
        drop_rate: probability with which a new feature is dropped in training, after its SE layer.
        final_relu: whether a ReLU follows the last norm.
        new_first: whether the new features of a layer come before the others.
        transition_pool: "floor" to leave out an odd last row or column, "ceil" to average what exists of it.
        memory_efficient: whether the layers' intermediate features are computed again for the backward pass (arXiv
            1707.06990), which takes less memory and more time, and changes no value.

    Raises:
        ArchitectureError: for a value that no network can have, in a sentence that names the field.
    """

    family: ClassVar[str] = "se_densenet"

    block_config: tuple[int, ...]
    growth_rate: int = 32
    num_init_features: int = 64
    compression: float = 0.5
    bn_size: int = 4
    stem: str = "7x7"
    se_places: tuple[str, ...] = ("layer",)
    reduction: int = 16
    se_bias: bool = False
    empty_squeeze: bool = False
    drop_rate: float = 0.0
    final_relu: bool = True
    new_first: bool = False
    transition_pool: str = "floor"
    memory_efficient: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        expect_counts(block_config=self.block_config)
        expect(0 < len(self.block_config) <= MOST_BLOCKS, "block_config", "of one to four blocks", self.block_config)
        expect_count(growth_rate=self.growth_rate, num_init_features=self.num_init_features, bn_size=self.bn_size)
        expect_count(reduction=self.reduction)
        expect_kind(float, compression=self.compression, drop_rate=self.drop_rate)
        expect(0 < self.compression <= 1, "compression", "above 0 and at most 1", self.compression)
        expect(0 <= self.drop_rate < 1, "drop_rate", "at least 0 and below 1", self.drop_rate)
        expect_one_of(STEMS, stem=self.stem)
        expect_one_of(("floor", "ceil"), transition_pool=self.transition_pool)
        expect_kind(
            bool,
            se_bias=self.se_bias,
            empty_squeeze=self.empty_squeeze,
            final_relu=self.final_relu,
            new_first=self.new_first,
            memory_efficient=self.memory_efficient,
        )
        known = [places for count in range(len(SE_PLACES) + 1) for places in combinations(SE_PLACES, count)]
        expect(self.se_places in known, "se_places", f"some of {', '.join(SE_PLACES)}, in this order", self.se_places)
        if not all(channels for channels, _ in self._widths()):
            raise ArchitectureError(f"compression leaves a transition without channels: got {self.compression}")
        channels = self._fewest_gated_channels()
        if channels < self.reduction and not self.empty_squeeze:
            raise ArchitectureError(
                f"reduction must be at most the number of channels: got reduction {self.reduction} for {channels} "
                f"channels, whose gates would all be 0.5; reduction={max(1, channels // 4)} would squeeze them to "
                f"{channels // max(1, channels // 4)}"
            )

    @classmethod
    def settings(cls) -> list[str]:
        return [*super().settings(), "small_inputs", "se"]

    @classmethod
    def resolved(cls, config: Mapping[str, Any], network: Self | None = None) -> Mapping[str, Any]:
        """The values of fields, from settings that may be written in a shorter way.

        Args:
            config: settings by name; `small_inputs` and `se` stand for values of `stem` and `se_places`, which may also
                be a set.
            network: the architecture to change, whose places `se=True` keeps.
        """
        values = {**config}
        if "small_inputs" in values:
            expect_kind(bool, small_inputs=values["small_inputs"])
            values["stem"] = "3x3" if values.pop("small_inputs") else "7x7"
        if "se" in values:
            expect_kind(bool, se=values["se"])
            before = network.se_places if network else ()
            values["se_places"] = (before or ("layer",)) if values.pop("se") else ()
        places = values.get("se_places")
        if isinstance(places, set | frozenset | tuple | list) and {*places} <= {*SE_PLACES}:
            values["se_places"] = tuple(place for place in SE_PLACES if place in places)
        return values

    def without_dropout(self) -> Self:
        return self.replace(drop_rate=0.0)

    def make_graph(self) -> Graph:
        return se_densenet_graph(self)

    def function_key(self) -> tuple[object, ...]:
        plain = replace(self, name="", drop_rate=0.0, memory_efficient=False)
        return replace(plain, reduction=1, se_bias=False, empty_squeeze=False), tuple(self._se_layers())

    @property
    def has_se(self) -> bool:
        return bool(self.se_places)

    @property
    def remark(self) -> str:
        if self._fewest_gated_channels() >= self.reduction:
            return ""
        gates = "do not depend on the image" if self.se_bias else "are 0.5 for every image"
        return f"some of its SE layers have a squeezed width of 0: their gates {gates}"

    @property
    def depth(self) -> int:
        return sum(self.block_config)

    @property
    def sizes(self) -> tuple[object, ...]:
        return self.block_config, self.growth_rate, self.has_se

    @property
    def conv0(self) -> Convolution:
        """The convolution of the stem."""
        kernel, stride = (7, 2) if self.stem == "7x7" else (3, 1)
        folded = self.folded and self.stem_norm
        return Convolution(self.in_channels, self.num_init_features, kernel, stride, bias=folded, folded=folded)

    @property
    def stem_norm(self) -> bool:
        """Whether a norm and a ReLU follow the convolution of the stem."""
        return self.stem != "3x3"

    @property
    def max_pool(self) -> MaxPool | None:
        """The max-pool of the stem, or None where it has none."""
        return MaxPool() if self.stem == "7x7" else None

    @property
    def se_stem(self) -> SqueezeExcitation | None:
        """The SE layer after the stem, or None where it has none."""
        return self._se("stem", self.num_init_features)

    @property
    def se_last(self) -> SqueezeExcitation | None:
        """The SE layer after the last norm, or None where it has none."""
        return self._se("last", self.features)

    def se_block(self, number: int) -> SqueezeExcitation | None:
        """The SE layer before a dense block, or None where it has none.

        Args:
            number: the block, from 1 to 4.
        """
        widths = self._widths()
        return self._se("block", widths[number - 1][0]) if number <= len(widths) else None

    def layers(self) -> Iterator[DenseLayer]:
        """The layers of all dense blocks in the order they are applied."""
        for stage, (in_channels, _) in enumerate(self._widths(), start=1):
            for index in range(self.block_config[stage - 1]):
                yield DenseLayer(
                    in_channels=in_channels + index * self.growth_rate,
                    growth_rate=self.growth_rate,
                    mid_channels=self.bn_size * self.growth_rate,
                    folded=self.folded,
                    epsilon=self.bn_epsilon,
                    se_places=tuple(place for place in ("input", "layer", "concat") if place in self.se_places),
                    reduction=self.reduction,
                    se_bias=self.se_bias,
                    drop_rate=self.drop_rate,
                    new_first=self.new_first,
                    memory_efficient=self.memory_efficient,
                    stage=stage,
                    index=index,
                )

    def block(self, number: int) -> list[DenseLayer]:
        """The layers of one dense block.

        Args:
            number: the block, from 1 to 4; one that the network does not have has no layers.
        """
        return [layer for layer in self.layers() if layer.stage == number]

    def transitions(self) -> Iterator[Transition]:
        """The transitions between the dense blocks."""
        for stage, (_, channels) in enumerate(self._widths()[:-1], start=1):
            yield Transition(
                in_channels=channels,
                out_channels=int(channels * self.compression),
                ceil=self.transition_pool == "ceil",
                epsilon=self.bn_epsilon,
                has_se="transition" in self.se_places,
                reduction=self.reduction,
                se_bias=self.se_bias,
                stage=stage,
            )

    def transition(self, number: int) -> Transition | None:
        """The transition after a dense block, or None where no block follows.

        Args:
            number: the block, from 1 to 4.
        """
        return next((transition for transition in self.transitions() if transition.stage == number), None)

    @property
    def features(self) -> int:
        return self._widths()[-1][1]

    @property
    def stage_outputs(self) -> dict[str, StageOutput]:
        stride = 4 if self.max_pool else 1
        outputs = {"stem": StageOutput(self.num_init_features, stride)}
        for stage, (_, channels) in enumerate(self._widths(), start=1):
            outputs[f"denseblock{stage}"] = StageOutput(channels, stride * 2 ** (stage - 1))
        return outputs

    @property
    def smallest_side(self) -> int:
        """As in every Architecture: a transition that rounds down needs two rows."""
        side = 2 ** (len(self.block_config) - 1) if self.transition_pool == "floor" else 1
        return 4 * side - 3 if self.max_pool else side

    @property
    def image_size(self) -> int:
        return 224 if self.max_pool else 32

    def _widths(self) -> list[tuple[int, int]]:
        """Channels of the input and of the output of each dense block."""
        widths, channels = [], self.num_init_features
        for count in self.block_config:
            widths.append((channels, channels + count * self.growth_rate))
            channels = int(widths[-1][1] * self.compression)
        return widths

    def _se(self, place: str, channels: int) -> SqueezeExcitation | None:
        if place not in self.se_places:
            return None
        return SqueezeExcitation(channels, channels // self.reduction, self.se_bias)

    def _fewest_gated_channels(self) -> int:
        """Channels of the narrowest SE layer; the reduction ratio where there is none.

        It is not found among the layers themselves, of which the metadata of a file may claim any number.
        """
        widths = self._widths()
        narrowest = min(inputs for inputs, _ in widths)
        fewest = {
            "stem": self.num_init_features,
            "block": narrowest,
            "input": narrowest,
            "layer": self.growth_rate,
            "concat": narrowest + self.growth_rate,
            "transition": min((outputs for _, outputs in widths[:-1]), default=self.reduction),
            "last": self.features,
        }
        return min((fewest[place] for place in self.se_places), default=self.reduction)

    def _se_layers(self) -> Iterator[SqueezeExcitation]:
        blocks = [self.se_block(number) for number in range(1, len(self.block_config) + 1)]
        layers = [se for layer in self.layers() for se in (layer.se_input, layer.se, layer.se_concat)]
        transitions = [transition.se for transition in self.transitions()]
        yield from filter(None, (self.se_stem, *blocks, *layers, *transitions, self.se_last))
