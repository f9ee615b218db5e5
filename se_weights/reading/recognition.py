"""Recognises the dialect and the architecture of tensors from their names and shapes.

For each dialect, the architecture is inferred from the tensors, its hidden config is added, and the result is compared
with the manifest. Only a match without differences counts. If several of them compute different functions, the user
must choose.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from se_spec import Architecture, architecture, config_differences, named_like
from se_weights.dialects import DIALECTS, Dialect
from se_weights.errors import AmbiguousDialect, UnsupportedFormat, WeightMismatch
from se_weights.reading.architecture_text import INFERRED, parse_architecture
from se_weights.reading.infer_architecture import Shapes, infer_architectures

INFERRED_FIELDS = ("stem", "squeeze", "conv_bias", "folded", "num_classes", "in_channels")
"""Fields that are inferred from the tensors even if the user names the architecture; so is `shortcut.where`."""


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
        """The match with other settings of its architecture; a basic block has no `stride_in`."""
        known = {name: value for name, value in settings.items() if name != "stride_in" or self.is_bottleneck}
        return replace(self, architecture=self.architecture.replace(**known))

    @property
    def is_bottleneck(self) -> bool:
        """Whether the blocks of the network are bottlenecks."""
        return self.architecture.block == "bottleneck"


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
    closest = closest_matches(shapes, dialects, known)
    matches: dict[tuple[object, ...], DialectMatch] = {}
    for match in closest:
        if not match.differences:
            matches.setdefault(match.result_key, match)
    if matches:
        return list(matches.values())
    nearest = _fewest_differences(closest)
    if not nearest:
        unexpected = [f"+ {name} {shape}" for name, shape in shapes.items()]
        raise WeightMismatch(f"{what} does not contain an SE-ResNet in a known dialect", unexpected)
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
        yield known
        return
    inferred = list(infer_architectures(shapes, dialect))
    settings: dict[str, object] = {}
    if known is not None:
        name, settings = parse_architecture(known)
        if name != INFERRED:
            named = architecture(name)
            inferred = [named.replace(**_inferred_fields(candidate)) for candidate in inferred] or [named]
    completed = dict.fromkeys(map(dialect.completed, inferred))
    for candidate in filter(None, completed):
        yield candidate.replace(**settings) if known else _with_published_name(candidate)


def _inferred_fields(inferred: Architecture) -> dict[str, object]:
    fields = {name: getattr(inferred, name) for name in INFERRED_FIELDS}
    return {**fields, "shortcut": {"where": inferred.shortcut.where}}


def _with_published_name(inferred: Architecture) -> Architecture:
    """The architecture with the name of the published one that it resembles, if there is one."""
    named = named_like(inferred)
    same = named and named.shortcut.averages == inferred.shortcut.averages
    return inferred.replace(name=named.name) if named and same else inferred


def _descriptions(matches: Sequence[DialectMatch]) -> dict[str, str]:
    """A line for each match by the name of its dialect, with the settings in which the matches differ."""
    first = matches[0].architecture
    settings = {name for match in matches[1:] for name in config_differences(first, match.architecture)}
    return {
        match.dialect.name: ", ".join(
            [match.architecture.name, *(f"{name}={_setting(match.architecture, name)}" for name in sorted(settings))]
        )
        + f" ({match.dialect.summary})"
        for match in matches
    }


def _setting(architecture: Architecture, name: str) -> object:
    """The value of a setting by its dotted name, such as "stem.pool"."""
    value: object = architecture
    for part in name.split("."):
        value = getattr(value, part)
    return value
