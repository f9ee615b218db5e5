"""Writes a checkpoint as a file: check, write to a temporary file, read back, compare, rename."""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from se_spec import Parameter, __version__
from se_weights.checkpoint import Checkpoint, check
from se_weights.dialects import DIALECTS, Dialect, Place
from se_weights.errors import TargetExists, UnsupportedFormat, WriteFailed
from se_weights.files import FileContents, Format, Tensor, format_of
from se_weights.files.formats import HUGGINGFACE
from se_weights.layouts import contiguous, relayout, relayout_shape
from se_weights.reading.recognition import find_dialect
from se_weights.reading.twins import tensors_decide
from se_weights.threads import in_background, map_in_threads
from se_weights.writing.atomic_write import atomic_write, fsync, target_exists

TOOL = f"se-resnet {__version__}"


def write(
    checkpoint: Checkpoint,
    path: str | PathLike[str],
    *,
    dialect: str | None = None,
    force: bool = False,
    shard_bytes: int | None = None,
) -> None:
    """Write a checkpoint as a file or folder.

    The write is atomic: a temporary file is written, read back, compared bit for bit and then renamed. If anything
    fails, nothing is left behind, and a file that existed before is unchanged.

    Args:
        checkpoint: The checkpoint to write.
        path: The file or folder; its suffix names the format.
        dialect: The names and axes to write; the first dialect of the format if not given.
        force: Whether to overwrite a file that already exists.
        shard_bytes: For a `.hf` folder, the largest size of the tensors in each shard, in bytes.

    Raises:
        TargetExists: The file exists and `force` is not set, or it is a folder where a file would be written.
        UnsupportedFormat: The suffix names no format that can be written, or the format cannot hold the dialect or a
            dtype, or the code base of the dialect has no network that computes the same function.
        WeightMismatch: The weights are not those of the checkpoint's architecture.
        MissingExtra: A framework that the format needs is not installed.
        WriteFailed: The file was not read back bit for bit.
    """
    path = Path(path)
    write_as(_format_to_write(path), checkpoint, path, dialect=dialect, force=force, shard_bytes=shard_bytes)


def write_as(
    file_format: Format,
    checkpoint: Checkpoint,
    path: Path,
    *,
    dialect: str | None,
    force: bool,
    shard_bytes: int | None = None,
    texts: Mapping[str, str] | None = None,
) -> None:
    """Write a checkpoint in a format, as `write` does, whatever the suffix of the path.

    Args:
        file_format: The format.
        checkpoint: The checkpoint to write.
        path: The file or folder.
        dialect: The names and axes to write; the first dialect of the format if not given.
        force: Whether to overwrite a file that already exists.
        shard_bytes: For a folder of Hugging Face, the largest size of the tensors in each shard, in bytes.
        texts: Further files of a folder, by name.
    """
    if shard_bytes and file_format is not HUGGINGFACE:
        raise UnsupportedFormat(f"{path}: only a .hf folder can have several shards, and this is {file_format.name}")
    options = {"shard_bytes": shard_bytes} if shard_bytes else {}
    target_dialect = dialect_to_write(file_format, dialect, path)
    check("the checkpoint", checkpoint.architecture, checkpoint.weights)
    if reason := target_dialect.why_unsupported(checkpoint.architecture):
        raise UnsupportedFormat(
            f"{path}: {checkpoint.architecture.name} cannot be written in the dialect {target_dialect.name}: {reason}"
        )
    _expect_supported_dtypes(file_format, checkpoint, path)
    _expect_no_target(path, file_format, force)
    metadata = _metadata(file_format, target_dialect, checkpoint)
    contents = FileContents(dict(_tensors(checkpoint, target_dialect)), metadata)
    with atomic_write(path, folder=file_format.folder, replace=force) as temporary:
        file_format.write(temporary, contents, **options)
        for name, text in (texts or {}).items():
            (temporary / name).write_text(text, encoding="utf-8")
        with in_background(lambda should_continue: fsync(temporary)), file_format.reopen(temporary) as written:
            _expect_same(written, contents, path)


def _format_to_write(path: Path) -> Format:
    file_format = format_of(path)
    if file_format.read_only:
        alternatives = "for Keras write .weights.h5 or .keras, for shards a .hf folder"
        raise UnsupportedFormat(f"{path}: {file_format.name} files can only be read; {alternatives}")
    return file_format


def dialect_to_write(file_format: Format, dialect: str | None, path: Path) -> Dialect:
    """The dialect to write in a format.

    Args:
        file_format: The format of the target.
        dialect: The name of the dialect; None for the first one of the format.
        path: The target, for messages.

    Raises:
        UnsupportedFormat: There is no such dialect, or the format cannot hold it.
    """
    dialects = DIALECTS.values()
    allowed = [known for framework in file_format.frameworks for known in dialects if known.framework == framework]
    chosen = find_dialect(dialect) if dialect else allowed[0]
    if chosen not in allowed:
        names = " or ".join(known.name for known in allowed)
        raise UnsupportedFormat(f"{path}: a {file_format.name} file holds the dialect {names}, not {chosen.name}")
    return chosen


def _tensors(checkpoint: Checkpoint, dialect: Dialect) -> Iterator[tuple[str, Tensor]]:
    """The tensors of the file by name. An array is put on the dialect's axes when it is loaded, to save memory."""
    for parameter, place in dialect.places(checkpoint.architecture).items():
        array = checkpoint.weights[parameter.name]
        shape = relayout_shape(parameter.shape, parameter.axes, place.axes)
        for index, name in enumerate(place.names):
            part = place.part(np.broadcast_to(np.empty((), array.dtype), shape), index)
            yield name, Tensor(array.dtype, part.shape, partial(_stored_array, array, parameter, place, index))


def _stored_array(array: NDArray, parameter: Parameter, place: Place, index: int) -> NDArray:
    return contiguous(place.part(relayout(array, parameter.axes, place.axes, copy=False), index))


def _metadata(file_format: Format, dialect: Dialect, checkpoint: Checkpoint) -> dict[str, str]:
    """The metadata of the file. Some formats get none if the tensors alone determine the architecture."""
    architecture = checkpoint.architecture
    if file_format.metadata == "when needed" and tensors_decide(architecture, dialect):
        return {}
    return {
        **checkpoint.metadata,
        "architecture": json.dumps(architecture.to_dict()),
        "dialect": dialect.name,
        "model": dialect.model_name(architecture),
        "tool": TOOL,
        "weights_sha256": checkpoint.weights_sha256,
    }


def _expect_supported_dtypes(file_format: Format, checkpoint: Checkpoint, path: Path) -> None:
    unsupported = sorted({array.dtype.name for array in checkpoint.weights.values()} - set(file_format.dtypes))
    if unsupported:
        supported = ", ".join(file_format.dtypes)
        raise UnsupportedFormat(
            f"{path}: a {file_format.name} file cannot hold {', '.join(unsupported)}, only {supported}"
        )


def _expect_no_target(path: Path, file_format: Format, force: bool) -> None:
    """Check before the work starts; `atomic_write` checks again when it renames."""
    if not (path.exists() or path.is_symlink()):
        return
    if path.is_dir() != file_format.folder:
        kind = "a folder, not a file" if path.is_dir() else "a file, not a folder"
        raise TargetExists(f"{path} is {kind}: choose another name")
    if not force:
        raise target_exists(path)


def _expect_same(written: FileContents, expected: FileContents, path: Path) -> None:
    """Compare names, dtypes, shapes and bits, so that NaNs and signed zeros count too."""
    different = sorted(set(written.tensors) ^ set(expected.tensors))
    common = sorted(set(written.tensors) & set(expected.tensors))
    equal = map_in_threads(lambda name: _same_bits(written.tensors[name].load(), expected.tensors[name].load()), common)
    different += [name for name, same in zip(common, equal, strict=True) if not same]
    if different:
        raise WriteFailed(f"{path} was not written: reading it back gave other values for {', '.join(different[:5])}")


def _same_bits(one: NDArray, other: NDArray) -> bool:
    bits = np.dtype(f"u{one.dtype.itemsize}")
    return (
        one.dtype == other.dtype
        and one.shape == other.shape
        and np.array_equal(contiguous(one).view(bits), contiguous(other).view(bits))
    )
