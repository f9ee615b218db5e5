"""check -> write -> read back: a checkpoint as a file, whole or not at all."""

import json
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from se_spec import __version__
from se_weights.checkpoint import Checkpoint, check
from se_weights.dialects import DIALECTS, Dialect
from se_weights.errors import AmbiguousDialect, TargetExists, UnsupportedFormat, WeightMismatch, WriteFailed
from se_weights.files import Format, Stored, format_of
from se_weights.layouts import relayout
from se_weights.reading import known_dialect
from se_weights.recognise import recognise
from se_weights.replacing import replacing

TOOL = f"se-resnet {__version__}"


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
    if not file_format.write:
        raise UnsupportedFormat(
            f"{path}: {file_format.name} files are read only; write .weights.h5 or .keras for Keras"
        )
    words = _dialect_to_write(file_format, dialect, path)
    check("the checkpoint", checkpoint.architecture, checkpoint.weights)
    if reason := words.refuses(checkpoint.architecture):
        raise UnsupportedFormat(
            f"{path}: the dialect {words.name} cannot hold {checkpoint.architecture.name}: {reason}"
        )
    _expect_dtypes(file_format, checkpoint, path)
    stored = Stored(
        {
            name: tensor
            for parameter, place in words.places(checkpoint.architecture).items()
            for name, tensor in place.split(
                relayout(checkpoint.weights[parameter.name], parameter.axes, place.axes)
            ).items()
        },
        _metadata(file_format, words, checkpoint),
    )
    if path.exists() and not force:
        raise TargetExists(f"{path} is already there: choose another name, or overwrite it with --force (force=True)")
    with replacing(path) as temporary:
        file_format.write(temporary, stored)
        _expect_same(file_format.read(temporary), stored, path)


def _dialect_to_write(file_format: Format, dialect: str | None, path: Path) -> Dialect:
    held = [known for family in file_format.families for known in DIALECTS.values() if known.family == family]
    chosen = known_dialect(dialect) if dialect else held[0]
    if chosen not in held:
        names = " or ".join(known.name for known in held)
        raise UnsupportedFormat(f"{path}: a {file_format.name} file holds the dialect {names}, not {chosen.name}")
    return chosen


def _metadata(file_format: Format, words: Dialect, checkpoint: Checkpoint) -> dict[str, str]:
    """What travels with the tensors; nothing, where the format wants none and the tensors tell the architecture."""
    if file_format.metadata == "when needed":
        try:
            told = recognise(file_format.name, words.shapes(checkpoint.architecture), [words]).architecture
        except (AmbiguousDialect, WeightMismatch):
            told = None
        if told and told.computes() == checkpoint.architecture.computes():
            return {}
    facts = json.dumps(checkpoint.architecture.facts)
    return {**checkpoint.metadata, "architecture": facts, "dialect": words.name, "tool": TOOL}


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
