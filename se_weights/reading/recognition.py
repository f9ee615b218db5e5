"""Recognises the dialect and the architecture of tensors from their names and shapes.

For each dialect, the architecture is inferred from the tensors, its hidden config is added, and the result is compared
with the manifest. Only a match without differences counts. If several of them compute different functions, the user
must choose.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from se_spec import Architecture, architecture, config_differences
from se_weights.dialects import DIALECTS, Dialect
from se_weights.errors import AmbiguousDialect, UnsupportedFormat, WeightMismatch
from se_weights.families import FAMILIES, Shapes, infer_architectures
from se_weights.reading.architecture_text import INFERRED, parse_architecture


@dataclass(frozen=True)
class DialectMatch:
    """One way to interpret tensors.

    Attributes:
        dialect: The dialect of the names.
        architecture: The architecture, with the hidden config that the dialect adds.
        differences: The `-`, `+` and `!` lines by which the tensors differ from that architecture in that dialect.
    """

    dialect: Dialect
    architecture: Architecture
    differences: tuple[str, ...]

    @property
    def result_key(self) -> tuple[object, ...]:
        """A key that is equal for matches that result in the same function and the same weights."""
        return self.architecture.function_key(), tuple(self.dialect.places(self.architecture).values())

    def with_settings(self, settings: Mapping[str, object]) -> "DialectMatch":
        """The match with other settings of its architecture, by dotted name, or ArchitectureError."""
        changed = self.architecture.with_settings(settings)
        return replace(self, architecture=FAMILIES[changed.family].with_published_name(changed))


def find_dialect(name: str) -> Dialect:
    """The dialect of this name. Raises UnsupportedFormat, with all names, if there is none."""
    if name not in DIALECTS:
        raise UnsupportedFormat(f"there is no dialect {name!r}; known: {', '.join(DIALECTS)}")
    return DIALECTS[name]


def recognise(
    what: str, shapes: Shapes, dialects: Iterable[Dialect], known: Architecture | str | None = None
) -> DialectMatch:
    """Find the dialect and the architecture of tensors.

    Args:
        what: What contains the tensors, for messages.
        shapes: The shapes of the tensors by name.
        dialects: The dialects to try.
        known: The architecture, or its name, if it is known.

    Raises:
        WeightMismatch: No dialect matches; lists the differences from the closest match.
        AmbiguousDialect: Several dialects match and compute different functions.
    """
    return only_match(what, recognise_all(what, shapes, dialects, known))


def only_match(what: str, matches: Sequence[DialectMatch]) -> DialectMatch:
    """The match, if it is the only one. Raises AmbiguousDialect if there are several."""
    if len(matches) > 1:
        raise AmbiguousDialect(what, _descriptions(matches))
    return matches[0]


def recognise_all(
    what: str, shapes: Shapes, dialects: Iterable[Dialect], known: Architecture | str | None = None
) -> list[DialectMatch]:
    """Find all matches that compute different functions; at least one.

    Args:
        what: What contains the tensors, for messages.
        shapes: The shapes of the tensors by name.
        dialects: The dialects to try.
        known: The architecture, or its name, if it is known.

    Raises:
        WeightMismatch: No dialect matches; lists the differences from the closest match.
    """
    dialects = list(dialects)
    matches: dict[tuple[object, ...], DialectMatch] = {}
    for dialect in dialects:
        if match := _exact_match(shapes, dialect, known):
            matches.setdefault(match.result_key, match)
    if matches:
        return list(matches.values())
    nearest = _fewest_differences(closest_matches(shapes, dialects, known))
    if not nearest:
        unexpected = [f"+ {name} {shape}" for name, shape in shapes.items()]
        raise WeightMismatch(f"{what} does not contain an SE-ResNet or SE-DenseNet in a known dialect", unexpected)
    raise WeightMismatch(
        f"{what} is not a {nearest.architecture.name} in the dialect {nearest.dialect.name}", nearest.differences
    )


def closest_matches(
    shapes: Shapes, dialects: Iterable[Dialect], known: Architecture | str | None = None
) -> list[DialectMatch]:
    """For each dialect, the match with the fewest differences, if an architecture can be inferred at all.

    Args:
        shapes: The shapes of the tensors by name.
        dialects: The dialects to try.
        known: The architecture, or its name, if it is known.
    """
    matches = [_fewest_differences(_matches(shapes, dialect, known)) for dialect in dialects]
    return [match for match in matches if match]


def _exact_match(shapes: Shapes, dialect: Dialect, known: Architecture | str | None) -> DialectMatch | None:
    """The first match of a dialect without differences, if there is one."""
    for candidate in _candidate_architectures(shapes, dialect, known):
        if dialect.may_fit(candidate, shapes) and not dialect.differences(candidate, shapes):
            return DialectMatch(dialect, candidate, ())
    return None


def _fewest_differences(matches: Iterable[DialectMatch]) -> DialectMatch | None:
    return min(matches, key=lambda match: len(match.differences), default=None)


def _matches(shapes: Shapes, dialect: Dialect, known: Architecture | str | None) -> Iterator[DialectMatch]:
    for candidate in _candidate_architectures(shapes, dialect, known):
        yield DialectMatch(dialect, candidate, tuple(dialect.differences(candidate, shapes)))


def _candidate_architectures(
    shapes: Shapes, dialect: Dialect, known: Architecture | str | None
) -> Iterator[Architecture]:
    """The known architecture, or those inferred from the tensors with the hidden config of the dialect.

    Settings behind the name, as in "resnet50:stride_in=conv1", replace those of the dialect.
    """
    if isinstance(known, Architecture):
        if known.family in dialect.tables:
            yield known
        return
    inferred = list(infer_architectures(shapes, dialect))
    settings: dict[str, object] = {}
    if known is not None:
        name, settings = parse_architecture(known)
        if name != INFERRED:
            named = architecture(name)
            same_family = [candidate for candidate in inferred if candidate.family == named.family]
            inferred_settings = FAMILIES[named.family].inferred_settings
            inferred = [named.replace(**inferred_settings(candidate)) for candidate in same_family] or [named]
    completed = dict.fromkeys(map(dialect.completed, inferred))
    for candidate in filter(None, completed):
        yield candidate.replace(**settings) if known else FAMILIES[candidate.family].with_published_name(candidate)


def _descriptions(matches: Sequence[DialectMatch]) -> dict[str, str]:
    """A line for each match by the name of its dialect, with the settings in which the matches differ."""
    first = matches[0].architecture
    settings = {name for match in matches[1:] for name in config_differences(first, match.architecture)}
    return {
        match.dialect.name: ", ".join(
            [match.architecture.name, *(f"{name}={match.architecture.setting(name)}" for name in sorted(settings))]
        )
        + f" ({match.dialect.summary})"
        for match in matches
    }
