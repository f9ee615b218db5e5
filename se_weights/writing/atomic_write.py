"""Atomic writes: a file or folder is written under a temporary name, flushed to the disk and then renamed.

A file is written as a temporary file without a name (O_TMPFILE), so that nothing is left of it if the process is
killed; the complete file is then linked to its name. Where the system has no O_TMPFILE, and for folders, a hidden name
next to the target is used; what a killed process left under such a name is removed by the next write of that target.
"""

import contextlib
import ctypes
import errno
import os
import re
import secrets
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from se_weights.errors import TargetExists, WriteFailed

O_TMPFILE = getattr(os, "O_TMPFILE", None)
"""None on systems without temporary files that have no name."""

DISK_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
"""The errors of a full disk, a quota and a process limit, which do not name the file."""

HOST = f"{zlib.crc32(os.uname().nodename.encode()):08x}"
"""Identifies this machine in temporary names on a disk that several machines may share."""

AT_FDCWD, RENAME_EXCHANGE = -100, 2


@contextmanager
def atomic_write(path: Path, *, folder: bool = False, replace: bool = False) -> Iterator[Path]:
    """Write a file or folder atomically.

    Args:
        path: The target.
        folder: Whether to write a folder; the block must create it at the path that is yielded.
        replace: Whether to replace a target that already exists.

    Yields:
        The temporary path to write to. If the block succeeds, it is flushed to the disk and renamed to the target. On
        any failure it is removed, and a target that existed before is unchanged.

    Raises:
        TargetExists: The target was created by another process in the meantime, and `replace` is not set.
        OSError: The file cannot be written.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is not a folder, so {path.name} cannot be written there")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"{path.name} cannot be written: no permission to write to {path.parent}")
    _remove_abandoned(path)
    write = _write_folder if folder else _write_unnamed_file
    try:
        with write(path, replace) as temporary:
            yield temporary
    except OSError as error:
        if error.errno in DISK_FULL:
            raise OSError(error.errno, f"{os.strerror(error.errno)}: {path} was not written") from error
        raise


@contextmanager
def _write_unnamed_file(path: Path, replace: bool) -> Iterator[Path]:
    handle = None
    if O_TMPFILE is not None:
        with contextlib.suppress(OSError):
            handle = os.open(path.parent, O_TMPFILE | os.O_RDWR, 0o666)
    if handle is None or not Path(f"/proc/self/fd/{handle}").exists():
        with _write_hidden_file(path, replace) as temporary:
            yield temporary
        return
    try:
        unnamed = Path(f"/proc/self/fd/{handle}")
        yield unnamed
        os.fsync(handle)
        with _hidden_name(path) as hidden:
            _link(unnamed, hidden if replace else path)
            if replace:
                hidden.replace(path)
        fsync(path.parent)
    finally:
        os.close(handle)


@contextmanager
def _write_hidden_file(path: Path, replace: bool) -> Iterator[Path]:
    with _hidden_name(path) as hidden:
        hidden.touch(exist_ok=False)
        yield hidden
        fsync(hidden)
        if replace:
            hidden.replace(path)
        else:
            _link(hidden, path)
        fsync(path.parent)


@contextmanager
def _write_folder(path: Path, replace: bool) -> Iterator[Path]:
    with _hidden_name(path) as hidden:
        yield hidden
        for inner in [*hidden.rglob("*"), hidden]:
            fsync(inner)
        _replace_folder(hidden, path) if replace else _rename_folder(hidden, path)
        fsync(path.parent)


@contextmanager
def _hidden_name(path: Path) -> Iterator[Path]:
    """A hidden name next to the target, with the machine and process that write it; removed at the end."""
    hidden = path.with_name(f".{path.name}.{HOST}-{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        yield hidden
    finally:
        _remove(hidden)


def _remove_abandoned(path: Path) -> None:
    """Remove temporary files of this target whose process on this machine has ended."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.{HOST}-(\d+)-[0-9a-f]{{8}}\.part")
    for entry in list(path.parent.iterdir()):
        match = pattern.fullmatch(entry.name)
        if match and not _is_running(int(match[1])):
            with contextlib.suppress(OSError):
                _remove(entry)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    with contextlib.suppress(OSError):  # a zombie keeps its process id until its parent waits for it
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _link(source: Path, path: Path) -> None:
    """Link a file to a name. With a folder descriptor, Python follows the symbolic link that /proc has for the file."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.link(source, path, src_dir_fd=folder, follow_symlinks=True)
    except FileExistsError as error:
        raise target_exists(path) from error
    finally:
        os.close(folder)


def _rename_folder(hidden: Path, path: Path) -> None:
    try:
        hidden.rename(path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise target_exists(path) from error
        raise


def _replace_folder(hidden: Path, path: Path) -> None:
    """Rename the folder, or exchange it with the target; `exists` misses broken links and concurrent writers."""
    if path.exists():
        return _exchange(hidden, path)
    try:
        _rename_folder(hidden, path)
    except TargetExists:
        _exchange(hidden, path)


def _exchange(hidden: Path, path: Path) -> None:
    """Exchange the names of two folders in one step; the earlier target is then the hidden one, and is removed."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        raise WriteFailed(
            f"{path} was not written: this system cannot exchange two folders atomically; remove it first"
        )
    if library.renameat2(AT_FDCWD, os.fsencode(hidden), AT_FDCWD, os.fsencode(path), RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)}, while replacing {path}")


def target_exists(path: Path) -> TargetExists:
    """The error for a target that exists; the caller raises it."""
    return TargetExists(f"{path} already exists: choose another name, or overwrite it with --force (force=True)")


def fsync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
