"""Infers the architecture of an SE-DenseNet from the names and shapes of its tensors in a dialect.

As in an SE-ResNet, names are never parsed: the architecture is extended layer by layer, as long as the file contains
the names that the dialect generates for the next layer. A single tensor that is missing or has the wrong shape should
be reported alone, so a width is the one on which most tensors agree.
"""

from collections.abc import Iterator
from functools import cache
from itertools import combinations, product

from se_spec import ArchitectureError, Layer, Role, SEDenseNetArchitecture, named_like
from se_spec.families.se_densenet.architecture import MOST_BLOCKS, SE_PLACES, STEMS
from se_spec.families.se_densenet.graph import CANONICAL_LAYERS
from se_spec.graph import LayerPosition
from se_spec.layers import NORM_ROLES
from se_weights.dialects import Dialect
from se_weights.families.family import UNNAMED, Family, Shape, Shapes, probe, stored_shape

STEM = probe(Role.CONVOLUTION, LayerPosition(Layer.STEM_CONVOLUTION), CANONICAL_LAYERS)
STEM_NORM = probe(Role.GAMMA, LayerPosition(Layer.STEM_NORM), CANONICAL_LAYERS)
FIRST_LAYER = probe(Role.CONVOLUTION, LayerPosition(Layer.CONVOLUTION, stage=1), CANONICAL_LAYERS)
PROBES = STEM, STEM_NORM, FIRST_LAYER
"""Parameters whose names show which settings the names of a dialect depend on."""

GATES: dict[str, LayerPosition] = {
    "stem": LayerPosition(Layer.STEM_GATE),
    "block": LayerPosition(Layer.BLOCK_GATE, stage=1),
    "input": LayerPosition(Layer.INPUT_GATE, stage=1),
    "layer": LayerPosition(Layer.GATE, stage=1),
    "concat": LayerPosition(Layer.CONCAT_GATE, stage=1),
    "transition": LayerPosition(Layer.TRANSITION_GATE, stage=1),
    "last": LayerPosition(Layer.LAST_GATE),
}
"""The first SE layer of each place."""

REDUCTION = 16
"""The reduction ratio of published networks, which is taken where a squeezed width has several."""


def infer(shapes: Shapes, dialect: Dialect) -> Iterator[SEDenseNetArchitecture]:
    """The architectures that tensors may have, as `Family.infer` yields them."""
    for initial in _initial_architectures(dialect):
        yield from _ArchitectureInference(shapes, dialect, initial).candidates()


@cache
def _initial_architectures(dialect: Dialect) -> tuple[SEDenseNetArchitecture, ...]:
    """The smallest networks, one for each set of names that the dialect may give to their layers."""
    networks: dict[object, SEDenseNetArchitecture] = {}
    for stem, num_classes in product(STEMS, (1, 0)):
        initial = SEDenseNetArchitecture(
            name=UNNAMED,
            block_config=(1,),
            growth_rate=1,
            num_init_features=1,
            bn_size=1,
            stem=stem,
            se_places=(),
            num_classes=num_classes,
        )
        names = stem, *(dialect.place(parameter, initial) for parameter in PROBES)
        networks.setdefault(names, initial)
    return tuple(networks.values())


class _ArchitectureInference:
    """Infers an architecture step by step; `inferred` contains the settings that are known so far."""

    def __init__(self, shapes: Shapes, dialect: Dialect, initial: SEDenseNetArchitecture) -> None:
        self.shapes = shapes
        self.dialect = dialect
        self.inferred = initial

    def candidates(self) -> Iterator[SEDenseNetArchitecture]:
        class_counts = list(self.class_counts()) or [0]
        try:
            if not (self.infer_stem() and self.infer_first_layer()):
                return
            self.infer_blocks()
        except ArchitectureError:
            return
        for se_config, num_classes in product(self.se_configs(), class_counts):
            try:
                yield self.inferred.replace(**se_config, num_classes=num_classes)
            except ArchitectureError:
                continue

    def class_counts(self) -> Iterator[int]:
        """The number of classes according to the weight and to the bias of the classifier."""
        position = LayerPosition(Layer.CLASSIFIER)
        shapes = [self.shape(position, role) for role in (Role.CLASSIFIER, Role.CLASSIFIER_BIAS)]
        yield from dict.fromkeys(shape[0] for shape in shapes if shape)

    def infer_stem(self) -> bool:
        """Infer the channels of the images and of the stem; False if the tensors have another stem."""
        kernel = self.kernel(LayerPosition(Layer.STEM_CONVOLUTION))
        biased = self.shape(LayerPosition(Layer.STEM_CONVOLUTION), Role.CONVOLUTION_BIAS)
        norm = self.widths(LayerPosition(Layer.STEM_NORM)) or ([biased[0]] if biased else [])
        if kernel and kernel[2] != (7 if self.inferred.stem == "7x7" else 3):
            return False
        if self.inferred.stem_norm and not norm:
            return False
        widths = [
            *(norm if self.inferred.stem_norm else []),
            *([kernel[0]] if kernel else []),
            *self.widths(LayerPosition(Layer.NORM, stage=1, index=0, number=1)),
        ]
        if not widths:
            return False
        features, in_channels = max(widths, key=widths.count), kernel[1] if kernel else 3
        self.inferred = self.inferred.replace(num_init_features=features, in_channels=in_channels)
        return True

    def infer_first_layer(self) -> bool:
        """Infer the growth rate and the bottleneck size; False if there is no layer."""
        layers = [(stage, index) for stage in (1, 2) for index in (0, 1)]
        second = [self.kernel(LayerPosition(Layer.CONVOLUTION, *layer, 2)) for layer in layers]
        growth = next((kernel[0] for kernel in second if kernel and kernel[0]), 0)
        between = [kernel[1] for kernel in second if kernel]
        for layer in layers:
            between += self.widths(LayerPosition(Layer.NORM, *layer, 2))
        if not growth or not between:
            return False
        between_channels = max(between, key=between.count)
        first = LayerPosition(Layer.CONVOLUTION, *layers[0], 1)
        folded = bool(self.shape(first, Role.CONVOLUTION_BIAS)) and not self.widths(
            LayerPosition(Layer.NORM, *layers[0], 2)
        )
        if not between_channels or between_channels % growth:
            return False
        self.inferred = self.inferred.replace(growth_rate=growth, bn_size=between_channels // growth, folded=folded)
        return True

    def infer_blocks(self) -> None:
        """Infer the number of layers of each block, and the compression of the transitions between them."""
        blocks: tuple[int, ...] = ()
        for stage in range(1, MOST_BLOCKS + 1):
            depth = 0
            while self.has_layer(stage, depth, blocks):
                depth += 1
            if not depth:
                break
            blocks = (*blocks, depth)
        self.inferred = self.inferred.replace(block_config=blocks)
        kernels = [self.kernel(LayerPosition(Layer.TRANSITION_CONVOLUTION, stage)) for stage in range(1, len(blocks))]
        transitions = [kernel for kernel in kernels if kernel]
        compressions = [0.5, 1.0, *(kernel[0] / kernel[1] for kernel in transitions)]
        fits = [
            compression
            for compression in compressions
            if 0 < compression <= 1 and all(int(kernel[1] * compression) == kernel[0] for kernel in transitions)
        ]
        self.inferred = self.inferred.replace(compression=[*fits, 0.5][0])

    def has_layer(self, stage: int, index: int, blocks: tuple[int, ...]) -> bool:
        """Whether the file contains a layer of a block, after those of other blocks; one tensor may be missing."""
        self.inferred = self.inferred.replace(block_config=(*blocks, index + 1), compression=1.0)
        first, second = (self.kernel(LayerPosition(Layer.CONVOLUTION, stage, index, number)) for number in (1, 2))
        norms = [self.widths(LayerPosition(Layer.NORM, stage, index, number)) for number in (1, 2)]
        # Where layers have no names, the next ones may be those of a transition, or the last norm.
        return sum(map(bool, (first, second, *norms))) > 1 and not (second and second[2] != 3)

    def se_configs(self) -> list[dict[str, object]]:
        """The SE settings that the gates of the file may have, with each set of names that a dialect gives them.

        Names may depend on which SE layers stand outside the layers and transitions.
        """
        plain = self.inferred
        configs: list[dict[str, object]] = []
        for left_out in (left_out for count in range(4) for left_out in combinations(("block", "stem", "last"), count)):
            self.inferred = plain.replace(se_places=[*{*SE_PLACES} - {*left_out}], reduction=1)
            if (config := self.se_config()) not in configs:
                configs.append(config)
        self.inferred = plain
        return configs

    def se_config(self) -> dict[str, object]:
        """The places of the SE layers, their reduction ratio and biases."""
        places, gates, bias = [], list[tuple[int, int]](), False
        for place in self.inferred.se_places:
            first = GATES[place]
            layers = [first, LayerPosition(first.layer, first.stage, first.index, 2)]
            shapes = [shape for layer in layers if (shape := self.gate(layer))]
            if shapes:
                places.append(place)
                gates += [(max(shape), min(shape)) for shape in shapes]
                bias = bias or any(self.shape(layer, Role.GATE_BIAS) for layer in layers)
        if not places:
            return {"se_places": ()}
        ratios = [REDUCTION, *(channels // squeezed if squeezed else channels + 1 for channels, squeezed in gates)]
        fits = [ratio for ratio in ratios if all(channels // ratio == squeezed for channels, squeezed in gates)]
        return {
            "se_places": tuple(places),
            "reduction": [*fits, ratios[1]][0],
            "se_bias": bias,
            "empty_squeeze": any(not squeezed for _, squeezed in gates),
        }

    def gate(self, position: LayerPosition) -> Shape | None:
        """The shape of a fully connected layer of an SE layer, whose squeezed width may be 0."""
        parameter = probe(Role.GATE, position, CANONICAL_LAYERS)
        return stored_shape(self.shapes, self.dialect, parameter, self.inferred)

    def widths(self, norm: LayerPosition) -> list[int]:
        """The channels of a norm according to each of its tensors."""
        return [shape[0] for role in NORM_ROLES if (shape := self.shape(norm, role))]

    def kernel(self, position: LayerPosition) -> Shape | None:
        shape = self.shape(position, Role.CONVOLUTION)
        return shape if shape and shape[2] == shape[3] in (1, 3, 7) else None

    def shape(self, position: LayerPosition, role: Role) -> Shape | None:
        """The shape of a parameter on canonical axes, or None if the file does not contain it in this dialect."""
        shape = stored_shape(self.shapes, self.dialect, probe(role, position, CANONICAL_LAYERS), self.inferred)
        return None if shape and 0 in shape else shape


def inferred_settings(inferred: SEDenseNetArchitecture) -> dict[str, object]:
    """The settings that tensors show even if the user names the architecture."""
    names = (
        *("num_init_features", "stem", "se_places", "reduction", "se_bias", "empty_squeeze"),
        *("compression", "bn_size", "folded", "num_classes", "in_channels"),
    )
    return {name: getattr(inferred, name) for name in names}


def with_published_name(inferred: SEDenseNetArchitecture) -> SEDenseNetArchitecture:
    """The architecture with the name of the published one that it resembles, if there is one."""
    named = named_like(inferred)
    return inferred.replace(name=named.name) if named else inferred


SE_DENSENET = Family(
    name="se_densenet",
    first_layers=(STEM, FIRST_LAYER),
    initial_architectures=_initial_architectures,
    infer=infer,
    inferred_settings=inferred_settings,
    with_published_name=with_published_name,
    hidden_settings={
        "transition_pool": ("ceil", "floor"),
        "new_first": (False, True),
        "final_relu": (False, True),
    },
    training_settings=("drop_rate",),
)
