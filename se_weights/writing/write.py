"""check -> write -> read back: a checkpoint as a file, whole or not at all."""

import json
from collections.abc import Iterator
from functools import partial
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from se_spec import Parameter, __version__
from se_weights.checkpoint import Checkpoint, check
from se_weights.dialects import DIALECTS, Dialect, Place
from se_weights.errors import AmbiguousDialect, TargetExists, UnsupportedFormat, WeightMismatch, WriteFailed
from se_weights.files import FileContents, Format, Tensor, format_of
from se_weights.files.formats import HUGGINGFACE
from se_weights.layouts import contiguous, relayout, relayout_shape
from se_weights.reading.read import find_dialect
from se_weights.reading.recognition import recognise
from se_weights.threads import for_each, in_background
from se_weights.writing.atomic_write import atomic_write, sync

TOOL = f"se-resnet {__version__}"


def write(
    checkpoint: Checkpoint,
    path: str | PathLike[str],
    *,
    dialect: str | None = None,
    force: bool = False,
    shard_bytes: int | None = None,
) -> None:
    """Write a checkpoint in the format that the path's suffix names, whole or not at all.

    The file is read back and compared bit for bit before it takes its name. `shard_bytes` is what each of the files in
    a `.hf` folder may hold of tensors. Raises TargetExists unless `force`, UnsupportedFormat where the format cannot
    hold the dialect or a dtype, and WriteFailed where the file reads back otherwise.
    """
    path = Path(path)
    file_format = _format_to_write(path)
    if shard_bytes and file_format is not HUGGINGFACE:
        raise UnsupportedFormat(f"{path}: only a .hf folder holds several shards, and this is {file_format.name}")
    options = {"shard_bytes": shard_bytes} if shard_bytes else {}
    words = dialect_to_write(file_format, dialect, path)
    check("the checkpoint", checkpoint.architecture, checkpoint.weights)
    if reason := words.refuses(checkpoint.architecture):
        raise UnsupportedFormat(
            f"{path}: the dialect {words.name} cannot hold {checkpoint.architecture.name}: {reason}"
        )
    _expect_dtypes(file_format, checkpoint, path)
    _expect_free(path, file_format, force)
    stored = FileContents(dict(_tensors(checkpoint, words)), _metadata(file_format, words, checkpoint))
    with atomic_write(path, folder=file_format.folder, replace=force) as temporary:
        file_format.write(temporary, stored, **options)
        with in_background(lambda wanted: sync(temporary)), file_format.reopen(temporary) as found:
            _expect_same(found, stored, path)


def _format_to_write(path: Path) -> Format:
    file_format = format_of(path)
    if file_format.read_only:
        instead = "for Keras write .weights.h5 or .keras, for shards a folder .hf"
        raise UnsupportedFormat(f"{path}: {file_format.name} files are read only; {instead}")
    return file_format


def dialect_to_write(file_format: Format, dialect: str | None, path: Path) -> Dialect:
    """The dialect of this name, or the format's own. Raises UnsupportedFormat where the format does not hold it."""
    held = [known for family in file_format.families for known in DIALECTS.values() if known.family == family]
    chosen = find_dialect(dialect) if dialect else held[0]
    if chosen not in held:
        names = " or ".join(known.name for known in held)
        raise UnsupportedFormat(f"{path}: a {file_format.name} file holds the dialect {names}, not {chosen.name}")
    return chosen


def _tensors(checkpoint: Checkpoint, words: Dialect) -> Iterator[tuple[str, Tensor]]:
    """What the file is to hold, each laid out when it is written."""
    for parameter, place in words.places(checkpoint.architecture).items():
        array = checkpoint.weights[parameter.name]
        for number, name in enumerate(place.names):
            part = place.part(np.broadcast_to(np.empty((), array.dtype), _shape(parameter, place)), number)
            yield name, Tensor(array.dtype, part.shape, partial(_laid_out, array, parameter, place, number))


def _shape(parameter: Parameter, place: Place) -> tuple[int, ...]:
    return relayout_shape(parameter.shape, parameter.axes, place.axes)


def _laid_out(array: NDArray, parameter: Parameter, place: Place, number: int) -> NDArray:
    return contiguous(place.part(relayout(array, parameter.axes, place.axes, copy=False), number))


def _metadata(file_format: Format, words: Dialect, checkpoint: Checkpoint) -> dict[str, str]:
    """What travels with the tensors; nothing, where the format wants none and the tensors tell the architecture."""
    if file_format.metadata == "when needed":
        try:
            told = recognise(file_format.name, words.shapes(checkpoint.architecture), [words]).architecture
        except (AmbiguousDialect, WeightMismatch):
            told = None
        if told and told.function_key() == checkpoint.architecture.function_key():
            return {}
    facts = json.dumps(checkpoint.architecture.to_dict())
    model = words.model_name(checkpoint.architecture)
    told_short = {"architecture": facts, "dialect": words.name, "model": model, "tool": TOOL}
    return {**checkpoint.metadata, **told_short, "weights_sha256": checkpoint.weights_sha256}


def _expect_dtypes(file_format: Format, checkpoint: Checkpoint, path: Path) -> None:
    beyond = sorted({array.dtype.name for array in checkpoint.weights.values()} - set(file_format.dtypes))
    if beyond:
        raise UnsupportedFormat(
            f"{path}: a {file_format.name} file cannot hold {', '.join(beyond)}, only {', '.join(file_format.dtypes)}"
        )


def _expect_free(path: Path, file_format: Format, force: bool) -> None:
    """Before the work; `atomic_write` asks again after it."""
    if not (path.exists() or path.is_symlink()):
        return
    if path.is_dir() != file_format.folder:
        kind = "a folder, and not a file" if path.is_dir() else "a file, and not a folder"
        raise TargetExists(f"{path} is {kind}: choose another name")
    if not force:
        raise TargetExists(f"{path} is already there: choose another name, or overwrite it with --force (force=True)")


def _expect_same(found: FileContents, meant: FileContents, path: Path) -> None:
    """Bit for bit: names, types, shapes and bytes, so that NaNs and signed zeros count too."""
    different = sorted(set(found.tensors) ^ set(meant.tensors))
    both = sorted(set(found.tensors) & set(meant.tensors))
    equal = for_each(lambda name: _same_bits(found.tensors[name].load(), meant.tensors[name].load()), both)
    different += [name for name, same in zip(both, equal, strict=True) if not same]
    if different:
        raise WriteFailed(f"{path} was not written: it reads back otherwise at {', '.join(different[:5])}")


def _same_bits(one: NDArray, other: NDArray) -> bool:
    bits = np.dtype(f"u{one.dtype.itemsize}")
    return (
        one.dtype == other.dtype
        and one.shape == other.shape
        and np.array_equal(contiguous(one).view(bits), contiguous(other).view(bits))
    )
