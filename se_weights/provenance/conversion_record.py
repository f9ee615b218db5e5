"""The conversion record next to a converted file: source, target, changes, and the hash of every tensor.

The hash of a tensor is that of its canonical form. It is the same in every format, framework and dialect, so two
records show whether two files contain the same weights. Records contain no dates and no host names, so equal
conversions write equal records.
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
"""Added to the name of the file. It was published before the name "conversion record"."""

LIBRARIES = ("numpy", "ml-dtypes", "h5py", "msgpack")
"""The libraries that read and write files, whose versions are recorded."""


@dataclass(frozen=True)
class Fingerprint:
    """A tensor without its values.

    Attributes:
        dtype: The name of the dtype, such as "float32".
        shape: The shape on canonical axes.
        sha256: The `se_weights.tensor_sha256` of the tensor.
    """

    dtype: str
    shape: tuple[int, ...]
    sha256: str


@dataclass(frozen=True)
class ConversionRecord:
    """The part of a conversion record that a file is verified against.

    Attributes:
        file_sha256: The `se_weights.file_sha256` of the target.
        architecture: The architecture of the weights.
        weights_sha256: The `se_weights.weights_sha256` of all weights.
        tensors: The fingerprint of each tensor by canonical name.
    """

    file_sha256: str
    architecture: Architecture
    weights_sha256: str
    tensors: Mapping[str, Fingerprint]


def record_path(path: Path) -> Path:
    """The path of the conversion record of a file."""
    return path.with_name(path.name + SUFFIX)


def fingerprints(checkpoint: Checkpoint) -> dict[str, Fingerprint]:
    """The fingerprint of each tensor of a checkpoint by canonical name."""
    return {
        name: Fingerprint(array.dtype.name, array.shape, checkpoint.hashes[name])
        for name, array in checkpoint.weights.items()
    }


def write_conversion_record(checkpoint: Checkpoint, dialect: str, path: Path, *, force: bool = False) -> Path:
    """Write the conversion record of a file next to it.

    Args:
        checkpoint: The checkpoint that was written to the file.
        dialect: The name of the dialect of the file.
        path: The file.
        force: Whether to overwrite a record that already exists.

    Returns:
        The path of the record.
    """
    from importlib.metadata import version  # slow to import, and needed only here

    metadata = checkpoint.metadata
    document = {
        "schema": SCHEMA,
        "tool": TOOL,
        "versions": {"python": python_version(), **{library: version(library) for library in LIBRARIES}},
        "source": {
            "file": metadata.get("source"),
            "sha256": metadata.get("source_sha256"),
            "dialect": checkpoint.dialect,
            "unwrapped": metadata.get("unwrapped", "").split(),
            "left": metadata.get("left", "").split(),
        },
        "target": {
            "file": path.name,
            "sha256": file_sha256(path),
            "format": format_of(path).name,
            "dialect": dialect,
        },
        "changes": {
            "dtypes": [asdict(report) for report in recorded_casts(checkpoint)],
            "reordered": metadata.get("reordered", ""),
        },
        "architecture": checkpoint.architecture.to_dict(),
        "weights_sha256": checkpoint.weights_sha256,
        "tensors": {name: asdict(fingerprint) for name, fingerprint in fingerprints(checkpoint).items()},
    }
    target = record_path(path)
    with atomic_write(target, replace=force) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n")
    return target


def read_conversion_record(path: Path) -> ConversionRecord:
    """Read a conversion record.

    Args:
        path: The record itself (`FILE.manifest.json`).

    Raises:
        MalformedFile: The file is not a conversion record.
    """
    try:
        if path.stat().st_size > HEADER:
            raise refuse("manifest.content", f"{path.stat().st_size:,} bytes are too many")
        return _parse_record(parse_object(path.read_bytes(), "manifest.content"))
    except DuplicateKey as error:
        raise _with_path(path, refuse("manifest.content", str(error))) from error
    except MalformedFile as error:
        raise _with_path(path, error) from error.__cause__


def _with_path(path: Path, error: WeightsError) -> WeightsError:
    """The error with the path at the start of its message."""
    error.args = (f"{path}: {error}",)
    return error


def _parse_record(document: Mapping[str, Any]) -> ConversionRecord:
    try:
        if document["schema"] != SCHEMA:
            raise ValueError(f"expected schema {SCHEMA}, found {document['schema']!r}")
        return ConversionRecord(
            _expect_string(document["target"]["sha256"]),
            Architecture.from_dict(document["architecture"]),
            _expect_string(document["weights_sha256"]),
            {name: _parse_fingerprint(entry) for name, entry in document["tensors"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError, ArchitectureError) as error:
        raise refuse("manifest.content", f"{type(error).__name__}: {error}") from error


def _parse_fingerprint(entry: Any) -> Fingerprint:
    shape = entry["shape"]
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise TypeError(f"{shape!r} is not a shape")
    return Fingerprint(_expect_string(entry["dtype"]), tuple(shape), _expect_string(entry["sha256"]))


def _expect_string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value
