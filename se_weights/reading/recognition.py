"""Which dialect and which architecture a set of tensors is, from their names and shapes.

Each dialect grows what its tensors tell and adds what they do not, and the whole is then checked against the manifest.
A near fit is not a fit, and of two fits that compute different things neither is chosen.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from se_spec import Architecture, architecture, config_differences, named_like
from se_weights.dialects import Dialect
from se_weights.errors import AmbiguousDialect, WeightMismatch
from se_weights.reading.infer_architecture import Shapes, infer_architectures


@dataclass(frozen=True)
class DialectMatch:
    """One way to read the tensors, with what speaks against it."""

    dialect: Dialect
    architecture: Architecture
    differences: tuple[str, ...]

    @property
    def meaning(self) -> tuple[object, ...]:
        """What the tensors become; two dialects may agree on it."""
        return self.architecture.function_key(), tuple(self.dialect.places(self.architecture).values())


def recognise(
    what: str, shapes: Shapes, dialects: Iterable[Dialect], known: Architecture | str | None = None
) -> DialectMatch:
    """The one reading that fits all tensors; `known` is the architecture, or its name, where it is told.

    Raises WeightMismatch with the differences from the nearest reading where none fits, and AmbiguousDialect where
    several fit that would compute different things.
    """
    readings = recognise_all(what, shapes, dialects, known)
    if len(readings) > 1:
        raise AmbiguousDialect(what, _told_apart(readings))
    return readings[0]


def recognise_all(
    what: str, shapes: Shapes, dialects: Iterable[Dialect], known: Architecture | str | None = None
) -> list[DialectMatch]:
    """Every reading that fits all tensors and computes something of its own; one at least.

    Raises WeightMismatch with the differences from the nearest reading where none fits.
    """
    found = nearest_matches(shapes, dialects, known)
    meanings: dict[tuple[object, ...], DialectMatch] = {}
    for reading in found:
        if not reading.differences:
            meanings.setdefault(reading.meaning, reading)
    if meanings:
        return list(meanings.values())
    nearest = _nearest(found)
    if not nearest:
        extra = [f"+ {name} {shape}" for name, shape in shapes.items()]
        raise WeightMismatch(f"{what} holds no SE-ResNet in a dialect that is known here", extra)
    raise WeightMismatch(
        f"{what} is not a {nearest.architecture.name} in the dialect {nearest.dialect.name}", nearest.differences
    )


def nearest_matches(
    shapes: Shapes, dialects: Iterable[Dialect], known: Architecture | str | None = None
) -> list[DialectMatch]:
    """Each dialect's best reading of the tensors, where it has one at all."""
    readings = [_nearest(_readings(shapes, dialect, known)) for dialect in dialects]
    return [reading for reading in readings if reading]


def _nearest(readings: Iterable[DialectMatch]) -> DialectMatch | None:
    return min(readings, key=lambda reading: len(reading.differences), default=None)


def _readings(shapes: Shapes, dialect: Dialect, known: Architecture | str | None) -> Iterator[DialectMatch]:
    for candidate in _candidates(shapes, dialect, known):
        yield DialectMatch(dialect, candidate, tuple(dialect.differences(candidate, shapes)))


def _candidates(shapes: Shapes, dialect: Dialect, known: Architecture | str | None) -> Iterator[Architecture]:
    """The architecture that is told; or what grows, with the facts that the dialect adds."""
    if isinstance(known, Architecture):
        yield known
        return
    found = list(infer_architectures(shapes, dialect))
    if known is not None:
        told = architecture(known)
        found = [told.replace(**_free(candidate)) for candidate in found] or [told]
    completed = dict.fromkeys(map(dialect.completed, found))
    yield from (candidate if known else _with_known_name(candidate) for candidate in completed if candidate)


def _free(candidate: Architecture) -> dict[str, object]:
    """The facts that tensors tell even where the user names the architecture."""
    free = ("stem", "squeeze", "conv_bias", "folded", "num_classes", "in_channels")
    where = {"where": candidate.shortcut.where}
    return {**{fact: getattr(candidate, fact) for fact in free}, "shortcut": where}


def _with_known_name(found: Architecture) -> Architecture:
    like = named_like(found)
    named = like and like.shortcut.averages == found.shortcut.averages
    return found.replace(name=like.name) if like and named else found


def _told_apart(readings: list[DialectMatch]) -> dict[str, str]:
    """A line for each reading by its dialect, with the facts in which it differs from the others."""
    first = readings[0].architecture
    config = {fact for reading in readings[1:] for fact in config_differences(first, reading.architecture)}
    return {
        reading.dialect.name: ", ".join(
            [reading.architecture.name, *(f"{fact}={_value(reading.architecture, fact)}" for fact in sorted(config))]
        )
        + f" ({reading.dialect.summary})"
        for reading in readings
    }


def _value(known: Architecture, fact: str) -> object:
    value: object = known
    for part in fact.split("."):
        value = getattr(value, part)
    return value
