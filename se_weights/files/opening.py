"""Opens a file or a folder of any known format, with the checks that all formats share."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path

from se_weights.errors import SourceChanged, UnsupportedFormat, WeightsError
from se_weights.files.contents import FileContents
from se_weights.files.folders import DCP_METADATA, check_inside
from se_weights.files.formats import (
    DCP_FILESYSTEM,
    DCP_SAFETENSORS,
    FORMATS,
    HDF5,
    MSGPACK,
    ORBAX,
    PTH,
    SAFETENSORS,
    SHARDED_HDF5,
    SHARDED_PTH,
    SHARDED_SAFETENSORS,
    Format,
)
from se_weights.files.hashing import file_sha256
from se_weights.files.limits import AXIS, BOMB, NAME, RANK, TENSORS
from se_weights.files.orbax.folder import is_orbax
from se_weights.files.signatures import check_signature, format_by_content
from se_weights.refusals import REFUSALS, refuse
from se_weights.threads import in_background

FOLDER_FILES = (
    ("model.safetensors", SAFETENSORS),
    ("model.safetensors.index.json", SHARDED_SAFETENSORS),
    ("model.weights.h5", HDF5),
    ("model.weights.json", SHARDED_HDF5),
    ("pytorch_model.bin", PTH),
    ("pytorch_model.bin.index.json", SHARDED_PTH),
)
"""The files by which the format of a folder is detected, as timm, transformers, torch's DCP and Keras name them."""


OTHER_FOLDERS = {
    "saved_model.pb": "a TensorFlow SavedModel: save the weights of the Keras model instead, model.save_weights(path)",
    "*.index": "a tf.train.Checkpoint: restore it, and save the weights of the Keras model, model.save_weights(path)",
    "zero_pp_rank_*": "a DeepSpeed ZeRO checkpoint: join its parts with the zero_to_fp32.py beside it",
    "global_step*": "a DeepSpeed checkpoint: join its parts with the zero_to_fp32.py beside it",
}
"""What a folder is that contains a file of such a name, and what to do."""

FLAX_STEP = re.compile(r"checkpoint_\d{1,18}")
"""The file of a step of a training run, as older versions of Flax save it."""

HUB_REPOSITORY = re.compile(r"[\w-]+/[\w.-]+")


def format_of(path: Path) -> Format:
    """The format of the path's suffix. Raises UnsupportedFormat."""
    known = _format_by_suffix(path)
    if known is None:
        suffixes = ", ".join(suffix for known in FORMATS for suffix in known.suffixes)
        raise UnsupportedFormat(f"{path} has no suffix that names a format of weights; known: {suffixes}")
    return known


def _format_by_suffix(path: Path) -> Format | None:
    return next((known for known in FORMATS if path.name.lower().endswith(known.suffixes)), None)


def detect_format(path: Path) -> tuple[Format, Path]:
    """Detects the format of a file by its suffix, or else by its content; and of a folder by the files in it.

    Returns:
        The format, and the path to open: that of a file in the folder if the folder contains one weights file.

    Raises:
        WeightsError: The format is not known, or is refused.
        FileNotFoundError: There is no file of this path, and its suffix names no format.
    """
    if not path.is_dir():
        return _file_format(path), path
    if is_orbax(path):
        return ORBAX, path
    for name, known in FOLDER_FILES:
        if (path / name).exists():
            return known, path / name
    if steps := [file for file in path.iterdir() if file.is_file() and FLAX_STEP.fullmatch(file.name)]:
        return MSGPACK, max(steps, key=lambda file: int(file.name.rpartition("_")[2]))
    if any(path.glob("shard-*-model-*.safetensors")):
        return DCP_SAFETENSORS, path
    if (path / DCP_METADATA).exists():
        return DCP_FILESYSTEM, path
    if path.name.lower().endswith(ORBAX.suffixes):
        return ORBAX, path
    if path.name.lower().endswith(tuple(suffix for known in FORMATS if not known.folder for suffix in known.suffixes)):
        raise IsADirectoryError(f"{path} is not a file: it is a folder")
    if (only := _only_weights_file(path)) is not None:
        return only
    kind = next((what for name, what in OTHER_FOLDERS.items() if any(path.glob(name))), "")
    entries = f"{len(list(path.iterdir()))} entries"
    raise _with_path(path, refuse("folder.content", f"{entries}; it looks like {kind}" if kind else entries))


def _only_weights_file(folder: Path) -> tuple[Format, Path] | None:
    """The format and path of the one file in a folder whose suffix names a format, as ignite and Lightning save it."""
    found = [(known, path) for path in folder.iterdir() if path.is_file() and (known := _format_by_suffix(path))]
    return found[0] if len(found) == 1 else None


def _file_format(path: Path) -> Format:
    """The format of the suffix, or of the content where the suffix names none: `epoch=9.ckpt`, `best.model`."""
    if known := _format_by_suffix(path):
        return known
    if not path.exists():
        repository = HUB_REPOSITORY.fullmatch(str(path)) and not path.parent.exists()
        hint = "; a repository of the Hugging Face hub must be downloaded first" if repository else ""
        raise FileNotFoundError(f"there is no file {path}{hint}")
    if path.name == DCP_METADATA or path.suffix == ".distcp":
        raise _with_path(path, refuse("torch.distributed-part", f"it belongs to the folder {path.parent}"))
    try:
        return (path.is_file() and format_by_content(path)) or format_of(path)
    except WeightsError as error:
        if error.id in REFUSALS:
            _with_path(path, error)
        raise


@contextmanager
def open_file(path: Path) -> Iterator[tuple[Format, FileContents, Callable[[], str]]]:
    """Opens an untrusted file or folder.

    Returns:
        Its format; its contents, whose tensors can be loaded until it is closed; and a function that returns the hash
        of the file, which is computed in the background.

    Raises:
        MalformedFile, UnsafeFile, UnsupportedFormat: The file is refused, also while a tensor is loaded; the message
            names the path.
        SourceChanged: The file was changed while it was open.
    """
    file_format, inner = detect_format(path)
    before = _file_states(path, inner, file_format)
    try:
        if path.is_dir() and not inner.is_dir():
            check_inside(path, inner)
        if inner.is_file():
            check_signature(inner, file_format)
        with in_background(partial(file_sha256, path)) as sha256, file_format.open(inner) as contents:
            _check_contents(inner, file_format, contents)
            if inner != path and inner.name not in dict(FOLDER_FILES):
                contents = replace(contents, metadata={"opened": inner.name, **contents.metadata})
            yield file_format, contents, sha256
    except (WeightsError, OSError) as error:
        _check_unchanged(path, inner, file_format, before)
        if isinstance(error, WeightsError) and error.id in REFUSALS:
            _with_path(path, error)
        raise
    _check_unchanged(path, inner, file_format, before)


def _with_path(path: Path, error: WeightsError) -> WeightsError:
    """Puts the path before the message of an error."""
    error.args = (f"{path}: {error}",)
    return error


def _file_states(path: Path, inner: Path, file_format: Format) -> list[tuple[str, int, int, int]]:
    """Inode, size and time of a file, of those in a folder, or of the shards next to an index, to detect changes."""
    if not inner.exists():
        raise FileNotFoundError(f"there is no file {inner}")
    if not inner.is_dir() and not inner.is_file():
        raise OSError(f"{inner} is not a file: it is a device, a pipe or a socket")
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    if file_format.shards and not path.is_dir():
        files += sorted(path.parent.glob(f"*{file_format.shards}"))
    states = ((str(file), file.stat(follow_symlinks=file.exists())) for file in files)
    return [(name, state.st_ino, state.st_size, state.st_mtime_ns) for name, state in states]


def _check_unchanged(path: Path, inner: Path, file_format: Format, before: list[tuple[str, int, int, int]]) -> None:
    try:
        same = _file_states(path, inner, file_format) == before
    except OSError:
        same = False
    if not same:
        raise SourceChanged(f"{path} was changed while it was read: read it again once nobody writes to it")


def _check_contents(path: Path, file_format: Format, contents: FileContents) -> None:
    """Checks the names and shapes of the tensors, and their size in relation to the file's."""
    if len(contents.tensors) > TENSORS:
        raise refuse("tensor.count", f"{len(contents.tensors):,}")
    for name, tensor in contents.tensors.items():
        if not name or len(name) > NAME or not name.isprintable() or ".." in name.split("/"):
            raise refuse("tensor.name", name or "an empty name")
        if len(tensor.shape) > RANK:
            raise refuse("tensor.shape", f"{name} has {len(tensor.shape)} axes")
        if prod(size or 1 for size in tensor.shape) >= AXIS:  # numpy computes strides so for empty arrays, too
            raise refuse("tensor.shape", f"{name} has the shape {tensor.shape}")
    files = path.rglob("*") if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files if file.is_file())
    declared = sum(tensor.nbytes for tensor in contents.tensors.values())
    times, most = BOMB
    if not file_format.shards and declared > max(times * size, most):
        raise refuse("file.bomb", f"{declared:,} bytes of tensors in a file of {size:,}")
