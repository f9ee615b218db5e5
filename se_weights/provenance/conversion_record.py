"""The manifest of a converted file: where its weights come from, what they are, and what was changed.

A tensor's hash is that of its canonical form, so that it is the same in every format, framework and dialect, and two
manifests tell whether two files hold the same weights. Equal conversions make equal manifests: no dates, no hosts.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from platform import python_version
from typing import Any

from se_spec import Architecture, ArchitectureError
from se_weights.checkpoint import Checkpoint
from se_weights.errors import MalformedFile, WeightsError
from se_weights.files import format_of
from se_weights.files.hashing import file_sha256
from se_weights.files.json_document import DuplicateKey, parse_object
from se_weights.files.limits import HEADER
from se_weights.refusals import refuse
from se_weights.transforms.cast import recorded_casts
from se_weights.writing.atomic_write import atomic_write
from se_weights.writing.write import TOOL

SCHEMA = 1
SUFFIX = ".manifest.json"

LIBRARIES = ("numpy", "ml-dtypes", "h5py", "msgpack")
"""What reads and writes the files here."""


@dataclass(frozen=True)
class Fingerprint:
    """What a tensor is, without its values."""

    dtype: str
    shape: tuple[int, ...]
    sha256: str


@dataclass(frozen=True)
class ConversionRecord:
    """What a manifest says of a file: its bytes' hash, its network, and its tensors by canonical name."""

    file_sha256: str
    architecture: Architecture
    weights_sha256: str
    tensors: Mapping[str, Fingerprint]


def record_path(path: Path) -> Path:
    """Where the manifest of a file lies."""
    return path.with_name(path.name + SUFFIX)


def fingerprints(checkpoint: Checkpoint) -> dict[str, Fingerprint]:
    return {
        name: Fingerprint(array.dtype.name, array.shape, checkpoint.hashes[name])
        for name, array in checkpoint.weights.items()
    }


def write_conversion_record(checkpoint: Checkpoint, dialect: str, path: Path, *, force: bool = False) -> Path:
    """The manifest of what was written to a path, beside it."""
    from importlib.metadata import version  # takes long to import, and few conversions need it

    told = checkpoint.metadata
    document = {
        "schema": SCHEMA,
        "tool": TOOL,
        "versions": {"python": python_version(), **{library: version(library) for library in LIBRARIES}},
        "source": {
            "file": told.get("source"),
            "sha256": told.get("source_sha256"),
            "dialect": checkpoint.dialect,
            "unwrapped": told.get("unwrapped", "").split(),
            "left": told.get("left", "").split(),
        },
        "target": {
            "file": path.name,
            "sha256": file_sha256(path),
            "format": format_of(path).name,
            "dialect": dialect,
        },
        "changes": {
            "dtypes": [asdict(loss) for loss in recorded_casts(checkpoint)],
            "reordered": told.get("reordered", ""),
        },
        "architecture": checkpoint.architecture.to_dict(),
        "weights_sha256": checkpoint.weights_sha256,
        "tensors": {name: asdict(print_) for name, print_ in fingerprints(checkpoint).items()},
    }
    target = record_path(path)
    with atomic_write(target, replace=force) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n")
    return target


def read_conversion_record(path: Path) -> ConversionRecord:
    """Raises MalformedFile where it is none."""
    try:
        if path.stat().st_size > HEADER:
            raise refuse("manifest.content", f"{path.stat().st_size:,} bytes are too many")
        return _manifest(parse_object(path.read_bytes(), "manifest.content"))
    except DuplicateKey as error:
        raise _with_path(path, refuse("manifest.content", str(error))) from error
    except MalformedFile as error:
        raise _with_path(path, error) from error.__cause__


def _with_path(path: Path, error: WeightsError) -> WeightsError:
    error.args = (f"{path}: {error}",)
    return error


def _manifest(document: Mapping[str, Any]) -> ConversionRecord:
    try:
        if document["schema"] != SCHEMA:
            raise ValueError(f"its schema is {document['schema']!r}, and {SCHEMA} is known here")
        return ConversionRecord(
            _text(document["target"]["sha256"]),
            Architecture.from_dict(document["architecture"]),
            _text(document["weights_sha256"]),
            {name: _fingerprint(entry) for name, entry in document["tensors"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError, ArchitectureError) as error:
        raise refuse("manifest.content", f"{type(error).__name__}: {error}") from error


def _fingerprint(entry: Any) -> Fingerprint:
    shape = entry["shape"]
    if not isinstance(shape, list) or not all(type(side) is int and side >= 0 for side in shape):
        raise TypeError(f"{shape!r} is no shape")
    return Fingerprint(_text(entry["dtype"]), tuple(shape), _text(entry["sha256"]))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
