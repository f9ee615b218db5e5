"""Which dialect and which architecture a set of tensors is, from their names and shapes.

No foreign name is ever parsed. An architecture is grown instead: a dialect makes the names of one block more, as long
as the tensors hold them. What has grown is then checked whole against the manifest; a near fit is not a fit.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from se_spec import Architecture, ArchitectureError, Parameter, Role, architecture, list_architectures
from se_spec.architecture import EXPANSION, SQUEEZES, STEM_KERNEL
from se_weights.dialects import Dialect
from se_weights.errors import AmbiguousDialect, WeightMismatch
from se_weights.layouts import relayout_shape

Shapes = Mapping[str, tuple[int, ...]]

UNNAMED = "unnamed"
"""The name of an architecture that fits the tensors but is none of the named ones."""

GROWN_FACTS = ("stem", "reduction", "squeeze", "se_bias", "num_classes", "in_channels")
"""The facts that shapes tell even where the user names the architecture."""


@dataclass(frozen=True)
class Reading:
    """One way to read the tensors, with what speaks against it."""

    dialect: Dialect
    architecture: Architecture
    differences: tuple[str, ...]

    @property
    def meaning(self) -> tuple[object, ...]:
        """What the tensors become; two dialects may agree on it."""
        return self.architecture, tuple(self.dialect.places(self.architecture).values())


def recognise(
    what: str, shapes: Shapes, dialects: Iterable[Dialect], known: Architecture | str | None = None
) -> Reading:
    """The one reading that fits all tensors; `known` is the architecture, or its name, where it is told.

    Raises WeightMismatch with the differences from the nearest reading where none fits, and AmbiguousDialect where
    several fit that would give different weights.
    """
    readings = [_nearest(_readings(shapes, dialect, known)) for dialect in dialects]
    found = [reading for reading in readings if reading]
    fitting = [reading for reading in found if not reading.differences]
    if len({reading.meaning for reading in fitting}) > 1:
        names = sorted({f"{reading.dialect.name} ({reading.architecture.name})" for reading in fitting})
        raise AmbiguousDialect(f"{what} can be read as {' or as '.join(names)}: say which with --dialect")
    if fitting:
        return fitting[0]
    nearest = _nearest(found)
    if not nearest:
        extra = [f"+ {name} {shape}" for name, shape in shapes.items()]
        raise WeightMismatch(f"{what} holds no SE-ResNet in a dialect that is known here", extra)
    raise WeightMismatch(
        f"{what} is not a {nearest.architecture.name} in the dialect {nearest.dialect.name}", nearest.differences
    )


def _nearest(readings: Iterable[Reading]) -> Reading | None:
    return min(readings, key=lambda reading: len(reading.differences), default=None)


def _readings(shapes: Shapes, dialect: Dialect, known: Architecture | str | None) -> Iterator[Reading]:
    for candidate in _candidates(shapes, dialect, known):
        yield Reading(dialect, candidate, tuple(dialect.differences(candidate, shapes)))


def _candidates(shapes: Shapes, dialect: Dialect, known: Architecture | str | None) -> Iterator[Architecture]:
    if isinstance(known, Architecture):
        yield known
        return
    grown = [candidate for block in EXPANSION for candidate in _Growth(shapes, dialect, block).architectures()]
    if known is None:
        yield from map(_named, grown)
        return
    yield from (architecture(known, **{fact: getattr(candidate, fact) for fact in GROWN_FACTS}) for candidate in grown)
    if not grown:
        yield architecture(known)


def _named(grown: Architecture) -> Architecture:
    for name in list_architectures():
        named = architecture(name)
        if (named.block, named.depths, named.widths, named.se) == (grown.block, grown.depths, grown.widths, grown.se):
            return replace(grown, name=name)
    return grown


class _Growth:
    """Architectures of one kind of block, grown from what a dialect's names find among the tensors."""

    def __init__(self, shapes: Shapes, dialect: Dialect, block: str) -> None:
        self.shapes = shapes
        self.dialect = dialect
        self.block = block

    def architectures(self) -> Iterator[Architecture]:
        stem, head = self.shape("conv1", Role.CONVOLUTION), self.shape("fc", Role.CLASSIFIER)
        depths, widths = self.stages()
        stems: dict[tuple[int, ...], str] = {(kernel, kernel): name for name, kernel in STEM_KERNEL.items()}
        if not (stem and head and depths and stem[2:] in stems):
            return
        grown = Architecture(
            UNNAMED, self.block, depths, widths, stems[stem[2:]], se=False, num_classes=head[0], in_channels=stem[1]
        )
        gate = self.shape(f"layer{len(depths)}.0.se.fc1", Role.GATE, depths)
        if not gate:
            yield grown
            return
        se_bias = self.shape("layer1.0.se.fc1", Role.GATE_BIAS) is not None
        for squeeze in SQUEEZES:
            try:
                yield replace(grown, se=True, reduction=gate[1] // gate[0], squeeze=squeeze, se_bias=se_bias)
            except ArchitectureError:
                continue

    def stages(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Depth and width of each stage. A block of another width than the one before it begins a stage."""
        depths: tuple[int, ...] = ()
        widths: tuple[int, ...] = ()
        while True:
            deeper = (*depths[:-1], depths[-1] + 1) if depths else ()
            if deeper and self.last_width(deeper) == widths[-1]:
                depths = deeper
            elif width := self.last_width((*depths, 1)):
                depths, widths = (*depths, 1), (*widths, width)
            else:
                return depths, widths

    def last_width(self, depths: tuple[int, ...]) -> int | None:
        """Width of the last block of a network of these depths, where the tensors hold it."""
        shape = self.shape(f"layer{len(depths)}.{depths[-1] - 1}.conv1", Role.CONVOLUTION, depths)
        return shape[0] if shape else None

    def shape(self, module: str, role: Role, depths: tuple[int, ...] = (1,)) -> tuple[int, ...] | None:
        """The shape, on canonical axes, of the tensor that this dialect would keep there."""
        parameter = Parameter(module, role, ())
        skeleton = Architecture(UNNAMED, self.block, depths, (1,) * len(depths), se=False)
        place = self.dialect.place(parameter, skeleton)
        found = self.shapes.get(place.name)
        if found is None or 0 in found:
            return None
        try:
            return relayout_shape(found, place.axes, parameter.axes)
        except ValueError:
            return None
