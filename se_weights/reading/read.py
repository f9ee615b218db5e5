"""Reads a file as a checkpoint: open, unwrap, recognise, compare with the manifest, load."""

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from se_spec import Architecture, ArchitectureError
from se_weights.checkpoint import Checkpoint, not_floating, tensor_sha256
from se_weights.dialects import DIALECTS, Dialect
from se_weights.errors import AmbiguousDialect, AmbiguousPrefix, WeightMismatch, escaped
from se_weights.files import FileContents, Format, Tensor, open_file
from se_weights.files.limits import CONFIG
from se_weights.layouts import relayout
from se_weights.preprocessing import Preprocessing
from se_weights.reading.infer_architecture import Shapes, network_prefixes
from se_weights.reading.model_config import ModelConfig, read_model_config
from se_weights.reading.recognition import DialectMatch, closest_matches, find_dialect, only_match, recognise_all
from se_weights.reading.twins import Decision, decide
from se_weights.reading.unreadable import describe
from se_weights.reading.wrappers import Unwrapped, unwrap
from se_weights.refusals import refuse
from se_weights.threads import background_queue
from se_weights.transforms.cast import CAST, parse_cast_reports

PRESERVED_METADATA = (
    *("architecture", "dialect", "preprocessing", "tool"),
    *("reordered", "folded", "identified", "cast", "weights_sha256"),
)
"""The keys of a file's metadata that its checkpoint keeps; those of other tools are dropped."""

BESIDE_NETWORKS = re.compile(
    r"head|^fc|class|arc|margin|loss|crit|metric|acc|auroc|auc|f1|proj|pred|logit|cos|linear|mlp|aux|decoder|embed|center",
    re.IGNORECASE,
)
"""What the name of a module contains that stands beside a network: a head, a loss, a metric. Any other may be a part of
the network, which computes another function with it."""

MAX_SEARCHED, MAX_PREFIXES = 20_000, 16
"""Tensors of a larger model in which a network is looked for, and the number of prefixes that are tried."""


def read(
    path: str | PathLike[str],
    *,
    dialect: str | None = None,
    architecture: Architecture | str | None = None,
    prefix: str | None = None,
    hashed: bool = False,
) -> Checkpoint:
    """Read a file or folder of weights, of any known format and dialect.

    Names and shapes are compared with the manifest of the architecture before any values are read. Metadata that
    se-resnet wrote to the file are used if they match the tensors.

    Args:
        path: The file or folder.
        dialect: The dialect of the file; recognised from the tensors if not given.
        architecture: The architecture, or its name; inferred from the tensors if not given.
        prefix: The prefix of the network in a file that contains several, such as "student"; found if not given.
        hashed: Whether to compute the hashes of the tensors in the background while reading. The arrays must then
            not be modified.

    Returns:
        The checkpoint, with canonical names and axes. Its arrays are writable and not shared.

    Raises:
        WeightMismatch: The tensors are not those of any known architecture and dialect; lists all differences.
        AmbiguousDialect: The tensors match several dialects that compute different functions.
        AmbiguousArchitecture: The tensors are those of several published networks that compute different functions.
        AmbiguousPrefix: The file contains several networks, each under a prefix.
        AmbiguousFolder: The folder contains several checkpoints.
        MalformedFile: The file is damaged, or is not in the format that its suffix names.
        UnsafeFile: The file would run code, read other files or exhaust the memory.
        UnsupportedFormat: The format or the dialect is not known.
        MissingExtra: A framework that the format needs is not installed.
        SourceChanged: The file was changed while it was read.
    """
    return _read(path, dialect, architecture, prefix, hashed)[0]


def read_candidates(path: str | PathLike[str], *, dialect: str | None = None) -> list[Checkpoint]:
    """Read a file as each dialect that it matches, where these compute different functions.

    Args:
        path: The file or folder.
        dialect: The dialect of the file; recognised from the tensors if not given.

    Returns:
        At least one checkpoint.

    Raises:
        WeightsError: The errors of `read`, except AmbiguousDialect.
    """
    return _read(path, dialect, None, None, False, undecided=True)


def read_disambiguated(
    path: str | PathLike[str],
    *,
    dialect: str | None = None,
    architecture: Architecture | str | None = None,
    prefix: str | None = None,
    hashed: bool = False,
) -> tuple[Checkpoint, bool]:
    """Read a file as `read` does, and use `dialect` only if the file matches several dialects.

    Args:
        path: The file or folder.
        dialect: The dialect to read if the file matches several and this is one of them.
        architecture: The architecture, or its name; inferred from the tensors if not given.
        prefix: The prefix of the network in a file that contains several, such as "student"; found if not given.
        hashed: Whether to compute the hashes of the tensors in the background while reading.

    Returns:
        The checkpoint, and whether `dialect` was used.

    Raises:
        WeightsError: The errors of `read`.
    """
    try:
        return read(path, architecture=architecture, prefix=prefix, hashed=hashed), False
    except AmbiguousDialect as error:
        if dialect not in error.candidates:
            raise
        return read(path, dialect=dialect, architecture=architecture, prefix=prefix, hashed=hashed), True


def _read(
    path: str | PathLike[str],
    dialect: str | None,
    architecture: Architecture | str | None,
    prefix: str | None,
    hashed: bool,
    undecided: bool = False,
) -> list[Checkpoint]:
    """One checkpoint; one for each match if it shall not be decided which one the file contains.

    No values are read before the tensors are recognised.
    """
    path = Path(path)
    with open_file(path) as (file_format, contents, sha256):
        config = read_model_config(path, contents.settings) if architecture is None else ModelConfig()
        recorded = _parse_metadata(contents, "architecture", partial(_parse_architecture, contents))
        _parse_metadata(contents, "preprocessing", Preprocessing.from_text)
        _parse_metadata(contents, CAST, parse_cast_reports)
        unwrapped = _under_prefix(path, contents, prefix) if prefix else unwrap(contents)
        known = architecture or recorded
        dialect = dialect or _dialect_in_metadata(contents, file_format, _shapes(unwrapped), known)
        dialects = _dialects_to_try(file_format, dialect)
        find = partial(recognise_all, str(path), dialects=dialects, known=known)
        try:
            matches = find(_shapes(unwrapped))
        except WeightMismatch as mismatch:
            _check_nothing_unread(contents, unwrapped.tensors.values())
            _check_weights_are_read(contents)
            unwrapped, matches = _network_inside(path, unwrapped, dialects, find, known, mismatch)
        if undecided:
            decisions = [Decision(match) for match in matches]
        elif known is not None:
            decisions = [Decision(only_match(str(path), matches))]
        else:
            decisions = [decide(path, matches, config, sha256, dialect)]
        return [_load_checkpoint(path, contents, unwrapped, decision, sha256, hashed) for decision in decisions]


def _check_weights_are_read(contents: FileContents) -> None:
    """Refuses a file whose objects that are not read hold more tensors than any state dict in it."""
    branches = Counter(name.rpartition("/")[0] for name in contents.tensors)
    most = max(branches.values(), default=0)
    contents.refuse_unread(name for name, item in contents.unread.items() if item.tensors > most)


def _check_nothing_unread(contents: FileContents, chosen: Iterable[Tensor]) -> None:
    """Refuses objects that are not read among the tensors of the network, whose modules' names they have."""
    chosen_ids = {id(tensor) for tensor in chosen}
    keys = [name.rpartition("/")[::2] for name, tensor in contents.tensors.items() if id(tensor) in chosen_ids]
    branches, flat = {branch for branch, _ in keys}, {branch for branch, key in keys if "." in key}
    paths = ((name, *name.rpartition("/")[::2]) for name in contents.unread)
    contents.refuse_unread(
        name for name, branch, key in paths if branch in branches and ("." in key or branch not in flat)
    )


def _shapes(unwrapped: Unwrapped) -> Shapes:
    return {name: tensor.shape for name, tensor in unwrapped.tensors.items()}


def _under_prefix(path: Path, contents: FileContents, prefix: str) -> Unwrapped:
    """The network under a prefix of the unwrapped names, or else of the names in the file."""
    unwrapped = unwrap(contents)
    for end in ("", ".", "/"):
        full = prefix + end
        if not full.endswith((".", "/")):
            continue
        if any(name.startswith(full) for name in unwrapped.tensors):
            return unwrapped.under(full)
        if any(name.startswith(full) for name in contents.tensors):
            outer = Unwrapped(contents.tensors, (), ()).under(full)
            inner = unwrap(replace(contents, tensors=outer.tensors))
            ignored = tuple(sorted({*outer.ignored, *inner.ignored}))
            return Unwrapped(inner.tensors, (*outer.wrappers, *inner.wrappers), ignored)
    raise WeightMismatch(f"{path} has no tensors under the prefix {prefix}", [f"- {prefix}"])


def _network_inside(
    path: Path,
    unwrapped: Unwrapped,
    dialects: Sequence[Dialect],
    find: Callable[[Shapes], list[DialectMatch]],
    known: Architecture | str | None,
    mismatch: WeightMismatch,
) -> tuple[Unwrapped, list[DialectMatch]]:
    """The network in a larger model: with a head of its own, or under a prefix.

    Args:
        path: The file, for messages.
        unwrapped: Its tensors.
        dialects: The dialects to try.
        find: Finds the matches of tensors.
        known: The architecture, or its name, if it is known.
        mismatch: How the tensors differ from the closest network; it is raised if there is none inside.

    Raises:
        AmbiguousPrefix: There are several.
    """
    if body := _without_own_head(unwrapped, dialects, known):
        return body, find(_shapes(body))
    inner = {} if _is_close(mismatch, unwrapped) else _inner_networks(unwrapped, dialects, find)
    if len(inner) > 1:
        raise AmbiguousPrefix(str(path), inner) from mismatch
    if inner:
        (found,) = inner.values()
        return found
    kind = describe(unwrapped.tensors)
    raise WeightMismatch(f"{mismatch.what}: {kind}", mismatch.differences) if kind else mismatch


def _without_own_head(
    unwrapped: Unwrapped, dialects: Iterable[Dialect], known: Architecture | str | None
) -> Unwrapped | None:
    """The tensors of a complete network beside modules that are not part of one: another head, a loss, a metric."""
    for match in closest_matches(_shapes(unwrapped), dialects, known):
        names = {name for place in match.dialect.places(match.architecture).values() for name in place.names}
        if not all(line.startswith("+ ") for line in match.differences):
            continue
        body = {name.partition(".")[0] for name in names}
        others = {name: tensor for name, tensor in unwrapped.tensors.items() if _is_beside(name, body)}
        left = {name.partition(".")[0] for name in others}
        if left and len(others) == len(match.differences) and any(len(each.shape) > 1 for each in others.values()):
            tensors = {name: tensor for name, tensor in unwrapped.tensors.items() if name not in others}
            return Unwrapped(tensors, unwrapped.wrappers, tuple(sorted({*unwrapped.ignored, *left})))
    return None


def _is_beside(name: str, modules: Collection[str]) -> bool:
    """Whether a tensor is of a module beside a network's: by its name a head, a loss or a metric."""
    module, dot, _ = name.partition(".")
    return bool(dot) and module not in modules and bool(BESIDE_NETWORKS.search(module))


def _is_close(mismatch: WeightMismatch, unwrapped: Unwrapped) -> bool:
    """Whether most tensors match: the file is then a damaged network, and not a larger model that contains one."""
    return 2 * len(mismatch.differences) < len(unwrapped.tensors)


def _inner_networks(
    unwrapped: Unwrapped,
    dialects: Iterable[Dialect],
    find: Callable[[Shapes], list[DialectMatch]],
) -> dict[str, tuple[Unwrapped, list[DialectMatch]]]:
    """The complete networks inside a larger model, by their prefixes."""
    names = unwrapped.tensors.keys()
    if len(names) > MAX_SEARCHED:
        return {}
    prefixes = dict.fromkeys(prefix for dialect in dialects for prefix in network_prefixes(names, dialect))
    found = {}
    for prefix in list(prefixes)[:MAX_PREFIXES]:
        inner = unwrapped.under(prefix)
        with suppress(WeightMismatch):
            found[prefix] = inner, find(_shapes(inner))
    return found


def _load_checkpoint(
    path: Path,
    contents: FileContents,
    unwrapped: Unwrapped,
    decision: Decision,
    sha256: Callable[[], str],
    hashed: bool,
) -> Checkpoint:
    match = decision.match
    places = match.dialect.places(match.architecture)
    _check_nothing_unread(contents, (unwrapped.tensors[name] for place in places.values() for name in place.names))
    dtypes = {name: unwrapped.tensors[name].dtype for place in places.values() for name in place.names}
    if differences := not_floating(dtypes):
        raise WeightMismatch(f"{path} does not contain weights", differences)
    weights, hashes = {}, {}
    with background_queue(tensor_sha256) as submit_hash:
        for parameter, place in places.items():
            array = _native_byte_order(place.join(unwrapped.tensors))
            weights[parameter.name] = _writable(relayout(array, place.axes, parameter.axes, copy=False))
            if hashed:
                hashes[parameter.name] = submit_hash(weights[parameter.name])
    preprocessing = match.dialect.preprocessing(match.architecture)
    entries = {
        "preprocessing": preprocessing.text if preprocessing else "",
        **{key: text for key, text in contents.metadata.items() if key in PRESERVED_METADATA},
        "source": escaped(path.name),
        "source_sha256": sha256(),
        "source_dialect": match.dialect.name,
        "unwrapped": " ".join(filter(None, (contents.metadata.get("opened", ""), *unwrapped.wrappers))),
        "left": " ".join(filter(None, (contents.metadata.get("left", ""), *unwrapped.ignored))),
        "objects": " ".join(contents.objects),
        "published": decision.published,
        "twins": decision.note,
    }
    metadata = {key: text for key, text in entries.items() if text}
    checkpoint = Checkpoint(match.architecture, weights, match.dialect.name, metadata)
    if hashed:
        checkpoint.set_hashes({name: sha256_of_tensor() for name, sha256_of_tensor in hashes.items()})
    return checkpoint


def _dialect_in_metadata(
    contents: FileContents, file_format: Format, shapes: Shapes, known: Architecture | str | None
) -> str | None:
    """The dialect that the file's metadata name, if it matches the tensors."""
    dialect = DIALECTS.get(contents.metadata.get("dialect", ""))
    if dialect is None or dialect.family not in file_format.families:
        return None
    matches = closest_matches(shapes, [dialect], known)
    return dialect.name if matches and not matches[0].differences else None


def _dialects_to_try(file_format: Format, dialect: str | None) -> list[Dialect]:
    if dialect:
        return [find_dialect(dialect)]
    return [known for known in DIALECTS.values() if known.family in file_format.families]


def _parse_metadata(contents: FileContents, key: str, parse: Callable[[str], Any]) -> Any:
    """The parsed metadata under a key, or None if there are none. Raises MalformedFile if they are invalid."""
    try:
        text = contents.metadata.get(key)
        if text and len(text) > CONFIG:
            raise ValueError(f"{len(text):,} characters are too many")
        return parse(text) if text else None
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError, ArchitectureError) as error:
        raise refuse("metadata.json", f"invalid {key}: {error}") from error


def _parse_architecture(contents: FileContents, text: str) -> Architecture:
    """The architecture in a file's metadata. Raises ValueError if it has more blocks than the file has tensors."""
    architecture = Architecture.from_dict(json.loads(text))
    if sum(architecture.depths) + len(architecture.stem.inner) > len(contents.tensors):
        raise ValueError(f"{sum(architecture.depths):,} blocks, but only {len(contents.tensors):,} tensors")
    return architecture


def _writable(array: NDArray) -> NDArray:
    """The array itself if it is writable, and so not shared with the file; else a copy."""
    return array if array.flags.writeable else array.copy()


def _native_byte_order(array: NDArray) -> NDArray:
    return array.astype(array.dtype.newbyteorder("="), copy=False)
