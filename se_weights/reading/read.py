"""Reads a file as a checkpoint: open, unwrap, recognise, compare with the manifest, load."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from se_spec import Architecture, ArchitectureError
from se_weights.checkpoint import Checkpoint, not_floating, tensor_sha256
from se_weights.dialects import DIALECTS, Dialect
from se_weights.errors import AmbiguousDialect, MissingPrefix, WeightMismatch, escaped
from se_weights.families import Shapes
from se_weights.files import FileContents, Format, Tensor, open_file
from se_weights.files.limits import CONFIG
from se_weights.layouts import relayout
from se_weights.preprocessing import Preprocessing
from se_weights.reading.inner_network import network_inside
from se_weights.reading.model_config import ModelConfig, implied_options, read_model_config
from se_weights.reading.recognition import DialectMatch, closest_matches, find_dialect, only_match, recognise_all
from se_weights.reading.twins import Decision, decide
from se_weights.reading.wrappers import Unwrapped, unwrap
from se_weights.refusals import refuse
from se_weights.threads import background_queue
from se_weights.transforms.cast import CAST, parse_cast_reports

PRESERVED_METADATA = (
    *("architecture", "dialect", "preprocessing", "tool"),
    *("output", "reordered", "folded", "identified", "cast", "adapted", "weights_sha256"),
)
"""The keys of a file's metadata that its checkpoint keeps; those of other tools are dropped."""


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
        options = [*contents.settings, *implied_options({key: len(it.shape) for key, it in contents.tensors.items()})]
        config = read_model_config(path, options) if architecture is None else ModelConfig()
        _parse_metadata(contents, "preprocessing", Preprocessing.from_text)
        _parse_metadata(contents, CAST, parse_cast_reports)
        unwrapped = _under_prefix(path, contents, prefix) if prefix else unwrap(contents)
        known = partial(_known_architecture, contents, architecture)
        dialect = dialect or _dialect_in_metadata(contents, file_format, unwrapped.shapes, known(unwrapped))
        dialects = _dialects_to_try(file_format, dialect)
        find = partial(_find_matches, path, dialects, known)
        try:
            matches = find(unwrapped)
        except WeightMismatch as mismatch:
            _check_nothing_unread(contents, unwrapped.tensors.values())
            _check_weights_are_read(contents)
            unwrapped, matches = network_inside(path, unwrapped, dialects, find, known, mismatch)
        if undecided:
            decisions = [Decision(match) for match in matches]
        elif known(unwrapped) is not None:
            decisions = [Decision(only_match(str(path), matches))]
        else:
            decisions = [decide(path, matches, config, sha256, dialect)]
        return [
            _load_checkpoint(path, contents, unwrapped, decision, config.preprocessing, sha256, hashed)
            for decision in decisions
        ]


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
    raise MissingPrefix(str(path), prefix)


def _load_checkpoint(
    path: Path,
    contents: FileContents,
    unwrapped: Unwrapped,
    decision: Decision,
    images: Preprocessing | None,
    sha256: Callable[[], str],
    hashed: bool,
) -> Checkpoint:
    """The checkpoint of tensors that are recognised; `images` is the preprocessing that lies beside the file."""
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
    published = decision.published
    images = images or (published and published.preprocessing) or match.dialect.preprocessing(match.architecture)
    entries = {
        "preprocessing": images.text if images else "",
        "output": "softmax" if match.dialect.ends_in_softmax and match.architecture.num_classes else "",
        **{key: text for key, text in contents.metadata.items() if key in PRESERVED_METADATA},
        "source": escaped(path.name),
        "source_sha256": sha256(),
        "source_dialect": match.dialect.name,
        "unwrapped": " ".join(filter(None, (contents.metadata.get("opened", ""), *unwrapped.wrappers))),
        "left": " ".join(filter(None, (contents.metadata.get("left", ""), *unwrapped.ignored))),
        "objects": " ".join(contents.objects),
        "published": published.full_name if published else "",
        "twins": "; ".join(filter(None, (decision.note, match.architecture.remark))),
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
    if dialect is None or dialect.framework not in file_format.frameworks:
        return None
    matches = closest_matches(shapes, [dialect], known)
    return dialect.name if matches and not matches[0].differences else None


def _dialects_to_try(file_format: Format, dialect: str | None) -> list[Dialect]:
    if dialect:
        return [find_dialect(dialect)]
    return [known for known in DIALECTS.values() if known.framework in file_format.frameworks]


def _parse_metadata(contents: FileContents, key: str, parse: Callable[[str], Any]) -> Any:
    """The parsed metadata under a key, or None if there are none. Raises MalformedFile if they are invalid."""
    try:
        text = contents.metadata.get(key)
        if text and len(text) > CONFIG:
            raise ValueError(f"{len(text):,} characters are too many")
        return parse(text) if text else None
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError, ArchitectureError) as error:
        raise refuse("metadata.json", f"invalid {key}: {error}") from error


def _known_architecture(
    contents: FileContents, named: Architecture | str | None, unwrapped: Unwrapped
) -> Architecture | str | None:
    """The architecture that the user named, or else that which the file has for these tensors, if any."""
    if named is not None:
        return named
    if "architecture" in contents.metadata:
        return _parse_metadata(contents, "architecture", partial(_parse_architecture, contents))
    chosen = {id(tensor) for tensor in unwrapped.tensors.values()}
    prefixes = [
        prefix
        for prefix in contents.architectures
        if chosen <= {id(tensor) for name, tensor in contents.tensors.items() if name.startswith(prefix)}
    ]
    if not prefixes:
        return None
    with_this = replace(contents, metadata={"architecture": contents.architectures[max(prefixes, key=len)]})
    return _parse_metadata(with_this, "architecture", partial(_parse_architecture, contents))


def _find_matches(
    path: Path,
    dialects: Iterable[Dialect],
    known: Callable[[Unwrapped], Architecture | str | None],
    unwrapped: Unwrapped,
) -> list[DialectMatch]:
    return recognise_all(str(path), unwrapped.shapes, dialects, known(unwrapped))


def _parse_architecture(contents: FileContents, text: str) -> Architecture:
    """The architecture in a file's metadata. Raises ValueError if it has more blocks than the file has tensors."""
    architecture = Architecture.from_dict(json.loads(text))
    if architecture.depth > len(contents.tensors):
        raise ValueError(f"{architecture.depth:,} blocks, but only {len(contents.tensors):,} tensors")
    return architecture


def _writable(array: NDArray) -> NDArray:
    """The array itself if it is writable, and so not shared with the file; else a copy."""
    return array if array.flags.writeable else array.copy()


def _native_byte_order(array: NDArray) -> NDArray:
    return array.astype(array.dtype.newbyteorder("="), copy=False)
