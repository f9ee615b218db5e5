"""Tells apart networks that have the same tensors and compute different functions, or asks which one a file contains.

What is known beside the tensors decides: a `config.json`, or the hash of a published file. Without it, a file that
several published networks fit is not read until the user names one; a network that a code base only has a name for is
mentioned in a note.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from se_spec import Architecture
from se_weights.catalogue import PublishedFile, with_tensors_of
from se_weights.dialects import Dialect
from se_weights.errors import AmbiguousArchitecture, UnsupportedFormat, WeightMismatch
from se_weights.reading.infer_architecture import UNNAMED
from se_weights.reading.model_config import ModelConfig
from se_weights.reading.recognition import INFERRED, DialectMatch, format_architecture, only_match, recognise_all

OWN_SETTINGS = "stride_in, stem.pool, squeeze.after_relu, bn_epsilon and dropout"
"""Settings of our own networks that no tensor shows."""


@dataclass(frozen=True)
class Decision:
    """The match that a file is read as.

    Attributes:
        match: The match.
        published: The published file that the file is, or ends as a network's name in a `config.json`; may be empty.
        note: What could not be told from the tensors; may be empty.
    """

    match: DialectMatch
    published: str = ""
    note: str = ""


def decide(
    path: Path,
    matches: Sequence[DialectMatch],
    config: ModelConfig,
    sha256: Callable[[], str],
    dialect: str | None = None,
) -> Decision:
    """Decides which network a file contains.

    Args:
        path: The file or folder.
        matches: How its tensors can be interpreted.
        config: What is known of the network beside its tensors.
        sha256: Returns the hash of the file.
        dialect: The dialect that the user named, if any.

    Raises:
        AmbiguousDialect: Several dialects match, and nothing tells which one it is.
        AmbiguousArchitecture: Several published networks have these tensors, and nothing tells which one it is.
        UnsupportedFormat: The file is a published network that is not supported.
    """
    if config.settings:
        known = [match.with_settings(config.settings) for match in matches]
        return Decision(only_match(str(path), list({match.result_key: match for match in known}.values())))
    rows = [
        row
        for match in matches
        for row in with_tensors_of(match.architecture, match.dialect)
        if match.dialect.carries_config or dialect in (None, row.dialect)
    ]
    twins = [row for row in rows if not all(row.computes(match.architecture) for match in matches)]
    if twins and (chosen := _known(path, rows, config.names, sha256)):
        if chosen.differs:
            raise _unsupported(path, f"is {chosen.source}'s {_full_name(chosen)}", chosen)
        for match in matches:
            if chosen.computes(match.architecture):
                return Decision(match, f"{chosen.source} {_full_name(chosen)}")
    match = only_match(str(path), matches)
    if published := [row for row in twins if row.tag]:
        raise _question(path, match, [row for row in rows if row.tag], published)
    return Decision(match, note="" if config.names else _note(match, twins))


def tensors_decide(network: Architecture, dialect: Dialect) -> bool:
    """Whether names and shapes alone show which network a file contains.

    Args:
        network: The network.
        dialect: The dialect of the file.
    """
    try:
        (match,) = recognise_all(network.name, dialect.shapes(network), [dialect])
    except (WeightMismatch, ValueError):
        return False
    twins = (row for row in with_tensors_of(network, dialect) if row.tag and not row.computes(network))
    return match.architecture.function_key() == network.function_key() and not any(twins)


def _note(match: DialectMatch, twins: Sequence[PublishedFile]) -> str:
    """What the tensors of a match leave open, and what was assumed."""
    names = ", ".join(sorted({f"{row.source}'s {row.name}" for row in twins}))
    options = match.dialect.options_without_tensors
    notes = [
        f"the tensors could also be those of {names}" if names else "",
        f"the tensors do not show {match.dialect.name}'s {options}, whose defaults are assumed" if options else "",
        f"without metadata, {OWN_SETTINGS} are not known: those of a plain network are assumed"
        if match.dialect.is_only_ours(match.architecture)
        else "",
    ]
    return "; ".join(filter(None, notes))


def _known(
    path: Path, rows: Sequence[PublishedFile], names: frozenset[str], sha256: Callable[[], str]
) -> PublishedFile | None:
    """The published file that a `config.json` or the hash names."""
    named = next((row for row in rows if names & {row.name, _full_name(row)}), None)
    return named or next((row for row in rows if row.is_file(path, sha256())), None)


def _full_name(row: PublishedFile) -> str:
    return f"{row.name}.{row.tag}" if row.tag else row.name


def _unsupported(path: Path, what: str, row: PublishedFile) -> UnsupportedFormat:
    return UnsupportedFormat(
        f"{path} {what}: {row.differs}, which is not supported. Its tensors are also those of a plain network, which "
        f"computes another function; --architecture {INFERRED} (architecture={INFERRED!r}) reads it as that"
    )


def _question(
    path: Path, match: DialectMatch, rows: Sequence[PublishedFile], twins: Sequence[PublishedFile]
) -> AmbiguousArchitecture | UnsupportedFormat:
    """The question which of several networks a file contains; a refusal if the only published one is not supported."""
    same = sorted({f"{row.source}'s {row.name}" for row in rows if row.computes(match.architecture)})
    if not same and all(row.differs for row in twins):
        return _unsupported(path, f"matches only {twins[0].source}'s {twins[0].name}", twins[0])
    likely = INFERRED if match.architecture.name == UNNAMED else match.architecture.name
    candidates = {likely: ", ".join(same) or "our own network of this name"}
    for row in twins:
        description = f"{row.source}'s {row.name}"
        if row.differs:
            candidates.setdefault(row.name, f"{description}: {row.differs}, not supported")
        else:
            candidates.setdefault(format_architecture(likely, row.config_differences(match.architecture)), description)
    return AmbiguousArchitecture(str(path), likely, candidates)
