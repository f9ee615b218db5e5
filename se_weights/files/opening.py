"""Opens a file or a folder of any known format, and holds every format to the same rules."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from math import prod
from pathlib import Path

from se_weights.errors import SourceChanged, UnsupportedFormat, WeightsError
from se_weights.files.folders import expect_inside
from se_weights.files.formats import FORMATS, HDF5, ORBAX, PTH, SAFETENSORS, SHARDS, TORCH_DCP, Format
from se_weights.files.hashing import file_sha256
from se_weights.files.limits import BOMB, NAME, RANK, SIDE, TENSORS
from se_weights.files.orbax.folder import is_orbax
from se_weights.files.signatures import expect_signature
from se_weights.files.stored import FileContents
from se_weights.refusals import REFUSALS, refuse
from se_weights.threads import in_background

IN_FOLDERS = (
    ("model.safetensors", SAFETENSORS),
    ("model.safetensors.index.json", SHARDS),
    ("model.weights.h5", HDF5),
    ("pytorch_model.bin", PTH),
)
"""The files that a folder is known by, as timm, transformers, torch's DCP and Keras name them."""


def format_of(path: Path) -> Format:
    """The format that the path's suffix names."""
    for known in FORMATS:
        if path.name.lower().endswith(known.suffixes):
            return known
    suffixes = ", ".join(suffix for known in FORMATS for suffix in known.suffixes)
    raise UnsupportedFormat(f"{path} has no suffix that names a format of weights; known: {suffixes}")


def locate_format(path: Path) -> tuple[Format, Path]:
    """The format of a file by its suffix, or of a folder by its content; and the path that the format opens."""
    if not path.is_dir():
        return format_of(path), path
    if is_orbax(path):
        return ORBAX, path
    for name, known in IN_FOLDERS:
        if (path / name).exists():
            return known, path / name
    if any(path.glob("shard-*-model-*.safetensors")):
        return TORCH_DCP, path
    if (path / ".metadata").exists():
        raise _with_path(path, refuse("torch.distributed", "it holds .metadata"))
    if path.name.lower().endswith(ORBAX.suffixes):
        return ORBAX, path
    if path.name.lower().endswith(tuple(suffix for known in FORMATS if not known.folder for suffix in known.suffixes)):
        raise IsADirectoryError(f"{path} is not a file: it is a folder")
    raise _with_path(path, refuse("folder.content", f"{len(list(path.iterdir()))} entries"))


@contextmanager
def open_file(path: Path) -> Iterator[tuple[Format, FileContents, Callable[[], str]]]:
    """A file or folder of a stranger's: its format, what it declares, to be loaded until it is closed, and its hash,
    which is counted beside all that.

    Raises MalformedFile, UnsafeFile or UnsupportedFormat, with the path, for whatever is found wrong until then, and
    SourceChanged where somebody writes to it meanwhile.
    """
    file_format, inner = locate_format(path)
    before = _states(path, inner)
    try:
        if path.is_dir() and not inner.is_dir():
            expect_inside(path, inner)
        if inner.is_file():
            expect_signature(inner, file_format)
        with in_background(partial(file_sha256, path)) as sha256, file_format.open(inner) as stored:
            _expect_possible(inner, stored)
            yield file_format, stored, sha256
    except (WeightsError, OSError) as error:
        _expect_unchanged(path, inner, before)
        if isinstance(error, WeightsError) and error.id in REFUSALS:
            _with_path(path, error)
        raise
    _expect_unchanged(path, inner, before)


def _with_path(path: Path, error: WeightsError) -> WeightsError:
    """The error with the path before it."""
    error.args = (f"{path}: {error}",)
    return error


def _states(path: Path, inner: Path) -> list[tuple[str, int, int, int]]:
    """What would show that somebody wrote to a file, to one of a folder, or to a shard beside its index."""
    if not inner.exists():
        raise FileNotFoundError(f"there is no file {inner}")
    if not inner.is_dir() and not inner.is_file():
        raise OSError(f"{inner} is not a file: it is a device, a pipe or a socket")
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    if path.name.endswith(SHARDS.suffixes):
        files += sorted(path.parent.glob("*.safetensors"))
    states = ((str(file), file.stat(follow_symlinks=file.exists())) for file in files)
    return [(name, state.st_ino, state.st_size, state.st_mtime_ns) for name, state in states]


def _expect_unchanged(path: Path, inner: Path, before: list[tuple[str, int, int, int]]) -> None:
    try:
        same = _states(path, inner) == before
    except OSError:
        same = False
    if not same:
        raise SourceChanged(f"{path} was changed while it was read: read it again once nobody writes to it")


def _expect_possible(path: Path, stored: FileContents) -> None:
    """What holds for every format: names that can be shown, shapes that can be, no more than a file may declare."""
    if len(stored.tensors) > TENSORS:
        raise refuse("tensor.count", f"{len(stored.tensors):,}")
    for name, tensor in stored.tensors.items():
        if not name or len(name) > NAME or not name.isprintable() or ".." in name.split("/"):
            raise refuse("tensor.name", name or "an empty one")
        if len(tensor.shape) > RANK:
            raise refuse("tensor.shape", f"{name} has {len(tensor.shape)} axes")
        if prod(side or 1 for side in tensor.shape) >= SIDE:  # numpy counts so where there are no values, too
            raise refuse("tensor.shape", f"{name} has the shape {tensor.shape}")
    files = path.rglob("*") if path.is_dir() else [path]
    held = sum(file.stat().st_size for file in files if file.is_file())
    declared = sum(tensor.nbytes for tensor in stored.tensors.values())
    times, most = BOMB
    if not path.name.endswith(SHARDS.suffixes) and declared > max(times * held, most):
        raise refuse("file.bomb", f"{declared:,} bytes of tensors in {held:,}")
