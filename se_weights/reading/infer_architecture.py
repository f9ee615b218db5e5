"""The architecture that tensors have in a dialect, as far as their names and shapes tell it.

No foreign name is ever parsed. An architecture is grown instead: the dialect makes the names of one block more, as long
as the tensors hold them. One tensor that is missing or misshapen must not hide all others, so a width is taken from a
norm or from its convolution, and a fact that two tensors tell is guessed from each of them.
"""

from collections.abc import Iterator, Mapping
from itertools import product

from se_spec import Architecture, ArchitectureError, Layer, Parameter, Role, Shortcut, Squeeze, Stem
from se_spec.architecture import MOST_STAGES
from se_spec.block import EXPANSION
from se_spec.config import SQUEEZES
from se_spec.manifest import NORM_ROLES
from se_weights.dialects import Dialect
from se_weights.layouts import relayout_shape

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

UNNAMED = "unnamed"
"""The name of an architecture that fits the tensors but is none of the named ones."""

STEMS = (Stem(), Stem(kernel=3, stride=1, pool="none"), Stem(kernel=3, inner=(1, 1)))
"""The paper's, that of CIFAR, and a deep one."""

SAMPLE = (
    Parameter(Layer.STEM_CONVOLUTION, Role.CONVOLUTION),
    Parameter(Layer.PROJECTION, Role.CONVOLUTION, (), stage=1, index=0),
)
"""Parameters whose names show what else a dialect's names depend on."""


def infer_architectures(shapes: Shapes, dialect: Dialect) -> Iterator[Architecture]:
    """Every guess at the architecture; what a dialect's names may depend on is tried, and skipped where they do not."""
    tried = set()
    for block, stem, averages, classes in product(EXPANSION, STEMS, (False, True), (1, 0)):
        shortcut = Shortcut(averages=averages)
        skeleton = Architecture(UNNAMED, block, (1,), (1,), stem, shortcut, squeeze=Squeeze(1), num_classes=classes)
        names = block, stem, *(dialect.place(parameter, skeleton) for parameter in SAMPLE)
        if names not in tried:
            tried.add(names)
            yield from _ArchitectureInference(shapes, dialect, skeleton).architectures()


class _ArchitectureInference:
    """Architectures grown from a skeleton, which holds what is known so far; a dialect's names may depend on it."""

    def __init__(self, shapes: Shapes, dialect: Dialect, skeleton: Architecture) -> None:
        self.shapes = shapes
        self.dialect = dialect
        self.known = skeleton
        self.last = len(next(skeleton.blocks()).convolutions)

    def architectures(self) -> Iterator[Architecture]:
        classes = list(self.classes()) or [0]
        try:
            if not (self.stem() and self.first_block() and self.stages()):
                return
        except ArchitectureError:
            return
        biased = self.has(Layer.STEM_CONVOLUTION, Role.CONVOLUTION_BIAS)
        folded = biased and not any(self.has(Layer.STEM_NORM, role) for role in NORM_ROLES)
        told = {"shortcut": self.shortcut(), "conv_bias": biased and not folded, "folded": folded}
        for squeeze, num_classes in product(self.squeezes(), classes):
            try:
                yield self.known.replace(**told, **squeeze, num_classes=num_classes)
            except ArchitectureError:
                continue

    def classes(self) -> Iterator[int]:
        """The number of classes, from the classifier and from its bias."""
        shapes = [self.shape(Layer.CLASSIFIER, role) for role in (Role.CLASSIFIER, Role.CLASSIFIER_BIAS)]
        yield from dict.fromkeys(shape[0] for shape in shapes if shape)

    def stem(self) -> bool:
        """Widths of the stem, where it is the one that is tried."""
        numbers = range(1, len(self.known.stem.inner) + 2)
        widths = [self.width(Layer.STEM_NORM, Layer.STEM_CONVOLUTION, number=number) for number in numbers]
        first = self.kernel(Layer.STEM_CONVOLUTION, widths[0])
        if not all(widths) or (first and first[2] != self.known.stem.kernel):
            return False
        stem = {"inner": tuple(widths[:-1]), "width": widths[-1]}
        self.known = self.known.replace(stem=stem, in_channels=first[1] if first else 3)
        return True

    def first_block(self) -> bool:
        """Width of the first stage, and the groups and widths of its 3x3."""
        place = {"stage": 1, "index": 0}
        numbers = range(1, self.last + 1)
        widths = [self.width(Layer.NORM, Layer.CONVOLUTION, **place, number=number) for number in numbers]
        width = widths[-1] // EXPANSION[self.known.block]
        another = self.known.block == "basic" and self.width(Layer.NORM, Layer.CONVOLUTION, **place, number=3)
        if another or not all(widths) or not width:
            return False
        self.known = self.known.replace(widths=(width,))
        second = self.kernel(Layer.CONVOLUTION, widths[1], **place, number=2)
        second = second or self.kernel(Layer.CONVOLUTION, widths[1], stage=1, index=1, number=2)
        if self.known.block == "bottleneck" and second:
            first, mid, _ = widths
            groups, reduce_first = max(first // second[1], 1), max(mid // first, 1)
            base_width = mid * 64 // (width * groups)
            self.known = self.known.replace(groups=groups, base_width=base_width, reduce_first=reduce_first)
        return True

    def stages(self) -> bool:
        """Depth and width of each stage. A block of another width than the one before it begins a stage."""
        while True:
            *before, depth = self.known.depths
            *_, width = self.known.widths
            deeper = self.known.replace(depths=(*before, depth + 1))
            if self.last_width(deeper) == width:
                self.known = deeper
                continue
            if len(self.known.depths) == MOST_STAGES:
                break
            wider = self.known.replace(depths=(*self.known.depths, 1), widths=(*self.known.widths, 2 * width))
            if not (found := self.last_width(wider)):
                break
            self.known = wider.replace(widths=(*self.known.widths, found))
        if self.known.stem.width == self.known.widths[0]:
            self.known = self.known.replace(stem={"width": 0})
        return True

    def last_width(self, network: Architecture) -> int:
        """Width of the last block of a network, where the tensors hold it."""
        self.known, known = network, self.known
        place = {"stage": len(network.depths), "index": network.depths[-1] - 1, "number": self.last}
        width = self.width(Layer.NORM, Layer.CONVOLUTION, **place)
        self.known = known
        return width // EXPANSION[network.block]

    def shortcut(self) -> dict[str, object]:
        """The kernel of the shortcuts that stride, and where there are others than are needed."""
        stages = range(2, len(self.known.depths) + 1)
        kernels = [self.shape(Layer.PROJECTION, Role.CONVOLUTION, stage=stage, index=0) for stage in stages]
        kernel = 3 if any(shape and shape[2] == 3 for shape in kernels) else 1
        second = self.known.depths[0] > 1  # else its name may be that of another stage's block
        in_every_block = second and self.has(Layer.PROJECTION, Role.CONVOLUTION, stage=1, index=1)
        unneeded = not next(self.known.blocks()).projects
        in_first_stage = unneeded and self.has(Layer.PROJECTION, Role.CONVOLUTION, stage=1, index=0)
        return {"kernel": kernel, "where": "blocks" if in_every_block else "stages" if in_first_stage else "needed"}

    def squeezes(self) -> list[dict[str, object]]:
        """No SE, or each rounding that the squeezed width of a block may come from."""
        ends = [
            {"stage": stage, "index": 0, "number": number} for stage in (len(self.known.depths), 1) for number in (1, 2)
        ]
        gates = [shape for end in ends if (shape := self.shape(Layer.GATE, Role.GATE, **end))]
        if not gates:
            return [{"se": False, "reduction": 16}]
        bias = any(self.has(Layer.GATE, Role.GATE_BIAS, **end) for end in ends)
        pairs = dict.fromkeys((max(gate), min(gate)) for gate in gates)
        return [
            {"squeeze": {"reduction": reduction, "rounding": rounding, "bias": bias}}
            for channels, squeezed in pairs
            for rounding in SQUEEZES
            for reduction in [squeezed if rounding == "constant" else channels // squeezed]
        ]

    def width(self, norm: Layer, convolution: Layer, **place: int) -> int:
        """Output channels of a convolution, as most of its tensors and its norm's have them; 0 where there are none."""
        tensors = [(norm, role) for role in NORM_ROLES] + [(convolution, Role.CONVOLUTION)]
        widths = [shape[0] for layer, role in tensors if (shape := self.shape(layer, role, **place))]
        return max(widths, key=widths.count, default=0)

    def kernel(self, layer: Layer, outputs: int, **place: int) -> Shape | None:
        """The shape of a convolution, where it is square and has these outputs, or is the part of a group that is kept
        alone: one that is transposed is neither."""
        shape = self.shape(layer, Role.CONVOLUTION, **place)
        return shape if shape and outputs % shape[0] == 0 and shape[2] == shape[3] in (1, 3, 7) else None

    def has(self, layer: Layer, role: Role, **place: int) -> bool:
        return self.shape(layer, role, **place) is not None

    def shape(self, layer: Layer, role: Role, **place: int) -> Shape | None:
        """The shape, on canonical axes, of the tensor that this dialect would keep there."""
        parameter = Parameter(layer, role, (), **place)
        kept = self.dialect.place(parameter, self.known)
        found = self.shapes.get(kept.names[0])
        if found is None or 0 in found:
            return None
        try:
            shape = relayout_shape(found, kept.axes, parameter.axes)
        except ValueError:
            return None
        return (shape[0] * len(kept.names), *shape[1:])
