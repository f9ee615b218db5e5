"""read -> recognise -> check against the manifest -> write -> read back."""

import hashlib
import json
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from se_spec import Architecture, ArchitectureError, __version__
from se_weights.checkpoint import Checkpoint, check
from se_weights.dialects import DIALECTS, Dialect
from se_weights.errors import MalformedFile, TargetExists, UnsupportedFormat, WriteFailed
from se_weights.files import Format, Stored, format_of
from se_weights.layouts import relayout
from se_weights.recognise import recognise
from se_weights.replacing import replacing
from se_weights.wrappers import unwrap

TOOL = f"se-resnet {__version__}"


def read(
    path: str | PathLike[str], *, dialect: str | None = None, architecture: Architecture | str | None = None
) -> Checkpoint:
    """The checkpoint in a file of any known format and dialect.

    Dialect and architecture are recognised unless they are given; facts in the file's metadata are believed once the
    tensors bear them out. Raises WeightMismatch, AmbiguousDialect, MalformedFile, UnsafeFile or UnsupportedFormat.
    """
    path = Path(path)
    file_format = format_of(path)
    _expect_file(path)
    stored = file_format.read(path)
    tensors, wrappers = unwrap(stored.tensors)
    known = architecture or _recorded_architecture(path, stored)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    reading = recognise(str(path), shapes, _candidates(dialect), known)
    weights = {
        parameter.name: relayout(_native(tensors[place.name]), place.axes, parameter.axes)
        for parameter, place in reading.dialect.places(reading.architecture).items()
    }
    check(str(path), reading.architecture, weights)
    provenance = {
        "source": path.name,
        "source_sha256": file_sha256(path),
        "source_dialect": reading.dialect.name,
        **({"unwrapped": " ".join(wrappers)} if wrappers else {}),
    }
    return Checkpoint(reading.architecture, weights, reading.dialect.name, {**stored.metadata, **provenance})


def write(
    checkpoint: Checkpoint, path: str | PathLike[str], *, dialect: str | None = None, force: bool = False
) -> None:
    """Write a checkpoint in the format that the path's suffix names, whole or not at all.

    The file is read back and compared bit for bit before it takes its name. Raises TargetExists unless `force`,
    UnsupportedFormat where the format cannot hold the dialect or a dtype, and WriteFailed where the file reads back
    otherwise.
    """
    path = Path(path)
    file_format = format_of(path)
    words = _dialect_to_write(file_format, dialect, path)
    check("the checkpoint", checkpoint.architecture, checkpoint.weights)
    if reason := words.refuses(checkpoint.architecture):
        raise UnsupportedFormat(
            f"{path}: the dialect {words.name} cannot hold {checkpoint.architecture.name}: {reason}"
        )
    _expect_dtypes(file_format, checkpoint, path)
    stored = Stored(
        {
            place.name: relayout(checkpoint.weights[parameter.name], parameter.axes, place.axes)
            for parameter, place in words.places(checkpoint.architecture).items()
        },
        {
            **checkpoint.metadata,
            "architecture": json.dumps(checkpoint.architecture.facts),
            "dialect": words.name,
            "tool": TOOL,
        },
    )
    if path.exists() and not force:
        raise TargetExists(f"{path} is already there: choose another name, or overwrite it with --force (force=True)")
    with replacing(path) as temporary:
        file_format.write(temporary, stored)
        _expect_same(file_format.read(temporary), stored, path)


def convert(
    source: str | PathLike[str],
    target: str | PathLike[str],
    *,
    dialect: str | None = None,
    architecture: Architecture | str | None = None,
    force: bool = False,
) -> Checkpoint:
    """Read one file and write another; the checkpoint that was read is returned.

    `dialect` is the one to write. Where the target's format has a dialect of its own (Keras, Flax) that cannot be
    meant, and `dialect` says how to read the source.
    """
    source, target = Path(source), Path(target)
    if target.exists() and source.exists() and target.samefile(source):
        raise TargetExists(f"{target} is the source itself: a conversion never writes in place")
    speaks_of_target = dialect in format_of(target).dialects
    checkpoint = read(source, dialect=None if speaks_of_target else dialect, architecture=architecture)
    write(checkpoint, target, dialect=dialect if speaks_of_target else None, force=force)
    return checkpoint


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _expect_file(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if not path.is_file():
        raise IsADirectoryError(f"{path} is not a file: it is a folder or a device")


def _candidates(dialect: str | None) -> list[Dialect]:
    return [_known_dialect(dialect)] if dialect else list(DIALECTS.values())


def _known_dialect(name: str) -> Dialect:
    if name not in DIALECTS:
        raise UnsupportedFormat(f"there is no dialect {name!r}; known: {', '.join(DIALECTS)}")
    return DIALECTS[name]


def _recorded_architecture(path: Path, stored: Stored) -> Architecture | None:
    try:
        facts = stored.metadata.get("architecture")
        return Architecture.from_facts(json.loads(facts)) if facts else None
    except (ValueError, TypeError, AttributeError, ArchitectureError) as error:
        raise MalformedFile(f"{path} records an impossible architecture in its metadata: {error}") from error


def _native(array: NDArray) -> NDArray:
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _dialect_to_write(file_format: Format, dialect: str | None, path: Path) -> Dialect:
    known = _known_dialect(dialect or file_format.dialects[0])
    if known.name not in file_format.dialects:
        raise UnsupportedFormat(
            f"{path}: a {file_format.name} file holds the dialect {' or '.join(file_format.dialects)}, not {known.name}"
        )
    return known


def _expect_dtypes(file_format: Format, checkpoint: Checkpoint, path: Path) -> None:
    beyond = sorted({array.dtype.name for array in checkpoint.weights.values()} - set(file_format.dtypes))
    if beyond:
        raise UnsupportedFormat(
            f"{path}: a {file_format.name} file cannot hold {', '.join(beyond)}, only {', '.join(file_format.dtypes)}"
        )


def _expect_same(found: Stored, meant: Stored, path: Path) -> None:
    """Bit for bit: names, types, shapes and bytes, so that NaNs and signed zeros count too."""
    different = sorted(set(found.tensors) ^ set(meant.tensors))
    different += [
        name
        for name, tensor in meant.tensors.items()
        if name in found.tensors and not _same_bits(found.tensors[name], tensor)
    ]
    if different:
        raise WriteFailed(f"{path} was not written: it reads back otherwise at {', '.join(different[:5])}")


def _same_bits(one: NDArray, other: NDArray) -> bool:
    return (
        one.dtype == other.dtype
        and one.shape == other.shape
        and np.array_equal(np.ascontiguousarray(one).view(np.uint8), np.ascontiguousarray(other).view(np.uint8))
    )
