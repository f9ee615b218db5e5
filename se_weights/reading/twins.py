"""Tells apart networks that have the same tensors and compute different functions, or asks which one a file contains.

What is known beside the tensors decides: a `config.json`, or the hash of a published file. Without it, a file that
several published networks fit is not read until the user names one; a network that a code base only has a name for is
mentioned in a note.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from se_spec import Architecture, ArchitectureError, architecture, config_differences, list_architectures
from se_weights.catalogue import PublishedFile, file_hash, with_tensors_of
from se_weights.dialects import Dialect
from se_weights.errors import AmbiguousArchitecture, UnsupportedFormat, WeightMismatch
from se_weights.families import FAMILIES, UNNAMED
from se_weights.reading.architecture_text import INFERRED, format_architecture
from se_weights.reading.model_config import ModelConfig
from se_weights.reading.recognition import DialectMatch, only_match, recognise_all


@dataclass(frozen=True)
class Decision:
    """The match that a file is read as.

    Attributes:
        match: The match.
        published: The published file that it is, if its hash or what lies beside it shows that.
        note: What the tensors do not show, and what was assumed; may be empty.
    """

    match: DialectMatch
    published: PublishedFile | None = None
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
        UnsupportedFormat: No network with these tensors has the settings that are known of it.
    """
    matches = _with_settings(path, matches, config.settings) if config.settings else matches
    rows = [
        row
        for match in matches
        for row in with_tensors_of(match.architecture, match.dialect)
        if (match.dialect.carries_config or dialect in (None, row.dialect)) and row.has(config.settings)
    ]
    twins = [row for row in rows if not all(row.computes(match.architecture) for match in matches)]
    named = [row for row in rows if config.names & {row.name, row.name_and_tag}]
    known = _of_one_function(named) or _of_one_function(_with_hash(path, rows, sha256, sha256_only=not twins))
    if twins and known:
        return Decision(_match_of(known[0], matches), known[0])
    match = only_match(str(path), matches)
    if published := [row for row in twins if row.tag]:
        raise _question(path, match, [row for row in rows if row.tag], published)
    return Decision(match, known[0] if known else None, note="" if named else _note(match, twins))


def tensors_decide(network: Architecture, dialect: Dialect) -> bool:
    """Whether names and shapes alone show which network a file contains, and how it is trained.

    Args:
        network: The network.
        dialect: The dialect of the file.
    """
    try:
        matches = recognise_all(network.name, dialect.shapes(network), [dialect])
    except WeightMismatch:
        return False
    twins = (row for row in with_tensors_of(network, dialect) if row.tag and not row.computes(network))
    return not any(config_differences(match.architecture, network) for match in matches) and not any(twins)


def _with_settings(path: Path, matches: Sequence[DialectMatch], settings: Mapping[str, object]) -> list[DialectMatch]:
    """The matches whose networks can have these settings, with them."""
    known: dict[tuple[object, ...], DialectMatch] = {}
    for match in matches:
        with suppress(ArchitectureError):
            changed = match.with_settings(settings)
            known.setdefault(changed.result_key, changed)
    if not known:
        said = ", ".join(f"{name}={value}" for name, value in settings.items())
        dialects = ", ".join(match.dialect.name for match in matches)
        raise UnsupportedFormat(
            f"{path}: its config.json or training script says {said}, which no network with its tensors has in the "
            f"dialect {dialects}; --architecture {INFERRED} (architecture={INFERRED!r}) reads it without that"
        )
    return list(known.values())


def _note(match: DialectMatch, twins: Sequence[PublishedFile]) -> str:
    """What the tensors of a match leave open, and what was assumed."""
    names = ", ".join(sorted({f"{row.source}'s {row.name}" for row in twins}))
    options = match.dialect.options_without_tensors
    hidden = FAMILIES[match.architecture.family].hidden_names
    notes = [
        f"the tensors could also be those of {names}" if names else "",
        f"the tensors do not show {match.dialect.name}'s {options}, whose defaults are assumed" if options else "",
        f"without metadata, {hidden} are not known: those of a plain network are assumed"
        if match.dialect.is_only_ours(match.architecture)
        else "",
    ]
    return "; ".join(filter(None, notes))


def _of_one_function(rows: Sequence[PublishedFile]) -> Sequence[PublishedFile]:
    """The rows if they compute one function, else none: code bases give the same name to different networks."""
    functions = {row.function for row in rows}
    return rows if len(functions) == 1 else ()


def _with_hash(
    path: Path, rows: Sequence[PublishedFile], sha256: Callable[[], str], sha256_only: bool
) -> list[PublishedFile]:
    """The rows of the file: by the digits in its name, or else by its content."""
    by_name = [row for row in rows if row.is_named_in(path.name)]
    if by_name:
        return by_name
    others = {row.hash_algorithm for row in rows} - {"", "sha256"} if path.is_file() and not sha256_only else set()
    hashes = {"sha256": sha256(), **{algorithm: file_hash(path, algorithm) for algorithm in others}}
    return [row for row in rows if row.digits and hashes.get(row.hash_algorithm, "").startswith(row.digits)]


def _match_of(row: PublishedFile, matches: Sequence[DialectMatch]) -> DialectMatch:
    """The match that computes the function of a row, or one with its settings."""
    likely = next((match for match in matches if match.dialect.name == row.dialect), matches[0])
    changed = likely.with_settings(row.config_differences(likely.architecture))
    return next((match for match in matches if row.computes(match.architecture)), changed)


def _question(
    path: Path, match: DialectMatch, rows: Sequence[PublishedFile], twins: Sequence[PublishedFile]
) -> AmbiguousArchitecture:
    """The question which of several networks a file contains, with an answer for each."""
    same = sorted({f"{row.source}'s {row.name}" for row in rows if row.computes(match.architecture)})
    likely = INFERRED if match.architecture.name == UNNAMED else match.architecture.name
    candidates = {likely: ", ".join(same) or "our own network of this name"}
    for row in twins:
        candidates.setdefault(_answer(row, likely, match), f"{row.source}'s {row.name}")
    return AmbiguousArchitecture(str(path), likely, candidates)


def _answer(row: PublishedFile, likely: str, match: DialectMatch) -> str:
    """The architecture to name for a row: its own name, if it has one, and the settings that this does not imply."""
    settings = row.config_differences(match.architecture)
    if row.architecture.name not in list_architectures():
        return format_architecture(likely, settings)
    named = architecture(row.architecture.name)
    others = {setting: value for setting, value in settings.items() if named.setting(setting) != value}
    return format_architecture(row.architecture.name, others)
