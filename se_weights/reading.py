"""read -> unwrap -> recognise -> check against the manifest: a file as a checkpoint."""

import hashlib
import json
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from se_spec import Architecture, ArchitectureError
from se_weights.checkpoint import Checkpoint, check
from se_weights.dialects import DIALECTS, Dialect
from se_weights.errors import AmbiguousDialect, MalformedFile, UnsupportedFormat
from se_weights.files import Format, Stored, format_of
from se_weights.layouts import relayout
from se_weights.preprocessing import Preprocessing
from se_weights.recognise import Reading, recognise, recognise_every_way
from se_weights.wrappers import Unwrapped, unwrap


def read(
    path: str | PathLike[str], *, dialect: str | None = None, architecture: Architecture | str | None = None
) -> Checkpoint:
    """The checkpoint in a file of any known format and dialect.

    Dialect and architecture are recognised unless they are given; facts in the file's metadata are believed once the
    tensors bear them out. Raises WeightMismatch, AmbiguousDialect, MalformedFile, UnsafeFile or UnsupportedFormat.
    """
    return _read(path, lambda *question: [recognise(*question)], dialect, architecture)[0]


def read_every_way(path: str | PathLike[str], *, dialect: str | None = None) -> list[Checkpoint]:
    """The checkpoints that a file may hold: one where its tensors tell, and several where they fit several dialects.

    Raises what `read` raises, but for AmbiguousDialect.
    """
    return _read(path, recognise_every_way, dialect, None)


def read_settled(
    path: str | PathLike[str], *, dialect: str | None = None, architecture: Architecture | str | None = None
) -> tuple[Checkpoint, bool]:
    """What `read` gives, where `dialect` is only to settle what the tensors leave open; and whether it had to.

    For files of which one may need it and another not. Raises what `read` raises.
    """
    try:
        return read(path, architecture=architecture), False
    except AmbiguousDialect as error:
        if dialect not in error.candidates:
            raise
        return read(path, dialect=dialect, architecture=architecture), True


def _read(
    path: str | PathLike[str],
    recognising: Callable[..., list[Reading]],
    dialect: str | None,
    architecture: Architecture | str | None,
) -> list[Checkpoint]:
    """A checkpoint for each way in which the tensors are recognised."""
    path = Path(path)
    file_format = format_of(path)
    _expect_file(path)
    stored = file_format.read(path)
    recorded = _recorded(path, stored, "architecture", lambda text: Architecture.from_facts(json.loads(text)))
    _recorded(path, stored, "preprocessing", Preprocessing.from_text)
    unwrapped = unwrap(stored.tensors)
    shapes = {name: tensor.shape for name, tensor in unwrapped.tensors.items()}
    readings = recognising(str(path), shapes, _candidates(file_format, dialect), architecture or recorded)
    return [_checkpoint(path, stored, unwrapped, reading) for reading in readings]


def _checkpoint(path: Path, stored: Stored, unwrapped: Unwrapped, reading: Reading) -> Checkpoint:
    """What a reading makes of a file, with what is known of it."""
    weights = {
        parameter.name: relayout(_native(place.join(unwrapped.tensors)), place.axes, parameter.axes)
        for parameter, place in reading.dialect.places(reading.architecture).items()
    }
    check(str(path), reading.architecture, weights)
    preprocessing = reading.dialect.preprocessing(reading.architecture)
    told = {
        "preprocessing": preprocessing.text if preprocessing else "",
        **stored.metadata,
        "source": path.name,
        "source_sha256": file_sha256(path),
        "source_dialect": reading.dialect.name,
        "unwrapped": " ".join(unwrapped.wrappers),
        "left": " ".join(unwrapped.left),
    }
    metadata = {key: text for key, text in told.items() if text}
    return Checkpoint(reading.architecture, weights, reading.dialect.name, metadata)


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known_dialect(name: str) -> Dialect:
    """The dialect of this name. Raises UnsupportedFormat, with all names, where there is none."""
    if name not in DIALECTS:
        raise UnsupportedFormat(f"there is no dialect {name!r}; known: {', '.join(DIALECTS)}")
    return DIALECTS[name]


def _expect_file(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if not path.is_file():
        raise IsADirectoryError(f"{path} is not a file: it is a folder or a device")


def _candidates(file_format: Format, dialect: str | None) -> list[Dialect]:
    if dialect:
        return [known_dialect(dialect)]
    return [known for known in DIALECTS.values() if known.family in file_format.families]


def _recorded(path: Path, stored: Stored, key: str, parse: Callable[[str], Any]) -> Any:
    """What the file's metadata say under a key, or None. Raises MalformedFile where that is impossible."""
    try:
        text = stored.metadata.get(key)
        return parse(text) if text else None
    except (ValueError, TypeError, AttributeError, KeyError, ArchitectureError) as error:
        raise MalformedFile(f"{path} records an impossible {key} in its metadata: {error}") from error


def _native(array: NDArray) -> NDArray:
    return array.astype(array.dtype.newbyteorder("="), copy=False)
