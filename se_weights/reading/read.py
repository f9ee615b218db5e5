"""read -> unwrap -> recognise -> check against the manifest: a file as a checkpoint."""

import json
from collections.abc import Callable
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from se_spec import Architecture, ArchitectureError
from se_weights.checkpoint import Checkpoint, not_floating, tensor_sha256
from se_weights.dialects import DIALECTS, Dialect
from se_weights.errors import AmbiguousDialect, UnsupportedFormat, WeightMismatch, escaped
from se_weights.files import FileContents, Format, open_file
from se_weights.files.limits import CONFIG
from se_weights.layouts import relayout
from se_weights.preprocessing import Preprocessing
from se_weights.reading.infer_architecture import Shapes
from se_weights.reading.recognition import DialectMatch, nearest_matches, recognise, recognise_all
from se_weights.reading.wrappers import Unwrapped, unwrap
from se_weights.refusals import refuse
from se_weights.threads import background_queue
from se_weights.transforms.cast import CAST, parse_cast_reports

CARRIED = (
    *("architecture", "dialect", "preprocessing", "tool"),
    *("reordered", "folded", "identified", "cast", "weights_sha256"),
)
"""What is taken over of the metadata that a file has; another tool's words are not ours to pass on."""


def read(
    path: str | PathLike[str],
    *,
    dialect: str | None = None,
    architecture: Architecture | str | None = None,
    hashed: bool = False,
) -> Checkpoint:
    """The checkpoint in a file of any known format and dialect.

    Dialect and architecture are recognised unless they are given; facts in the file's metadata are believed once the
    tensors bear them out. `hashed` counts the hashes of the tensors beside the reading, for arrays that nobody writes
    to. Raises WeightMismatch, AmbiguousDialect, MalformedFile, UnsafeFile or UnsupportedFormat.
    """
    return _read(path, lambda *question: [recognise(*question)], dialect, architecture, hashed)[0]


def read_candidates(path: str | PathLike[str], *, dialect: str | None = None) -> list[Checkpoint]:
    """The checkpoints that a file may hold: one where its tensors tell, and several where they fit several dialects.

    Raises what `read` raises, but for AmbiguousDialect.
    """
    return _read(path, recognise_all, dialect, None, False)


def read_disambiguated(
    path: str | PathLike[str],
    *,
    dialect: str | None = None,
    architecture: Architecture | str | None = None,
    hashed: bool = False,
) -> tuple[Checkpoint, bool]:
    """What `read` gives, where `dialect` is only to settle what the tensors leave open; and whether it had to.

    For files of which one may need it and another not. Raises what `read` raises.
    """
    try:
        return read(path, architecture=architecture, hashed=hashed), False
    except AmbiguousDialect as error:
        if dialect not in error.candidates:
            raise
        return read(path, dialect=dialect, architecture=architecture, hashed=hashed), True


def _read(
    path: str | PathLike[str],
    recognising: Callable[..., list[DialectMatch]],
    dialect: str | None,
    architecture: Architecture | str | None,
    hashed: bool,
) -> list[Checkpoint]:
    """A checkpoint for each way in which the tensors are recognised. Until they are, no value of any is read."""
    path = Path(path)
    with open_file(path) as (file_format, stored, sha256):
        recorded = _recorded(path, stored, "architecture", partial(_architecture, stored))
        _recorded(path, stored, "preprocessing", Preprocessing.from_text)
        _recorded(path, stored, CAST, parse_cast_reports)
        unwrapped = unwrap(stored)
        shapes = {name: tensor.shape for name, tensor in unwrapped.tensors.items()}
        told = dialect or _recorded_dialect(stored, file_format, shapes, architecture or recorded)
        readings = recognising(str(path), shapes, _candidates(file_format, told), architecture or recorded)
        return [_checkpoint(path, stored, unwrapped, reading, sha256, hashed) for reading in readings]


def _checkpoint(
    path: Path,
    stored: FileContents,
    unwrapped: Unwrapped,
    reading: DialectMatch,
    sha256: Callable[[], str],
    hashed: bool,
) -> Checkpoint:
    """What a reading makes of a file, with what is known of it."""
    places = reading.dialect.places(reading.architecture)
    types = {name: unwrapped.tensors[name].dtype for place in places.values() for name in place.names}
    if differences := not_floating(types):
        raise WeightMismatch(f"{path} does not hold weights", differences)
    weights, hashes = {}, {}
    with background_queue(tensor_sha256) as hash_of:
        for parameter, place in places.items():
            found = _native(place.join(unwrapped.tensors))
            weights[parameter.name] = _own(relayout(found, place.axes, parameter.axes, copy=False))
            if hashed:
                hashes[parameter.name] = hash_of(weights[parameter.name])
    preprocessing = reading.dialect.preprocessing(reading.architecture)
    told = {
        "preprocessing": preprocessing.text if preprocessing else "",
        **{key: text for key, text in stored.metadata.items() if key in CARRIED},
        "source": escaped(path.name),
        "source_sha256": sha256(),
        "source_dialect": reading.dialect.name,
        "unwrapped": " ".join(unwrapped.wrappers),
        "left": " ".join(filter(None, (stored.metadata.get("left", ""), *unwrapped.left))),
    }
    metadata = {key: text for key, text in told.items() if text}
    checkpoint = Checkpoint(reading.architecture, weights, reading.dialect.name, metadata)
    if hashed:
        checkpoint.remember({name: counted() for name, counted in hashes.items()})
    return checkpoint


def find_dialect(name: str) -> Dialect:
    """The dialect of this name. Raises UnsupportedFormat, with all names, where there is none."""
    if name not in DIALECTS:
        raise UnsupportedFormat(f"there is no dialect {name!r}; known: {', '.join(DIALECTS)}")
    return DIALECTS[name]


def _recorded_dialect(
    stored: FileContents, file_format: Format, shapes: Shapes, known: Architecture | str | None
) -> str | None:
    """The dialect that the file's metadata name, where the tensors bear it out."""
    named = DIALECTS.get(stored.metadata.get("dialect", ""))
    if named is None or named.family not in file_format.families:
        return None
    found = nearest_matches(shapes, [named], known)
    return named.name if found and not found[0].differences else None


def _candidates(file_format: Format, dialect: str | None) -> list[Dialect]:
    if dialect:
        return [find_dialect(dialect)]
    return [known for known in DIALECTS.values() if known.family in file_format.families]


def _recorded(path: Path, stored: FileContents, key: str, parse: Callable[[str], Any]) -> Any:
    """What the file's metadata say under a key, or None. Raises MalformedFile where that is impossible."""
    try:
        text = stored.metadata.get(key)
        if text and len(text) > CONFIG:
            raise ValueError(f"{len(text):,} letters")
        return parse(text) if text else None
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError, ArchitectureError) as error:
        raise refuse("metadata.json", f"an impossible {key}: {error}") from error


def _own(array: NDArray) -> NDArray:
    """An array that may be written to; what a file gives as such is nobody else's."""
    return array if array.flags.writeable else array.copy()


def _architecture(stored: FileContents, text: str) -> Architecture:
    """The architecture of a file's metadata. Raises ValueError where there are too few tensors for its blocks alone."""
    found = Architecture.from_dict(json.loads(text))
    if sum(found.depths) + len(found.stem.inner) > len(stored.tensors):
        raise ValueError(f"{sum(found.depths):,} blocks of {len(stored.tensors):,} tensors")
    return found


def _native(array: NDArray) -> NDArray:
    return array.astype(array.dtype.newbyteorder("="), copy=False)
