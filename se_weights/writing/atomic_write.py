"""A file, or a folder, that appears whole or not at all, and is on the disk once it has.

A file is written without a name (O_TMPFILE), so that nothing is left of it whatever kills the process; it is given its
name once it is whole. Where a system has no nameless files, and for folders, a hidden name stands beside the target;
what a killed process left under such a name is removed by the next one that writes the same target.
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

NAMELESS = getattr(os, "O_TMPFILE", None)

SPENT = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
"""What a full disk answers, or a quota, or a limit of the process; it does not say for which file."""

HOST = f"{zlib.crc32(os.uname().nodename.encode()):08x}"
"""This machine, in the names of what it writes to a disk that others may see."""

AT_FDCWD, RENAME_EXCHANGE = -100, 2


@contextmanager
def atomic_write(path: Path, *, folder: bool = False, replace: bool = False) -> Iterator[Path]:
    """A path to write to; what is there at the end takes the target's name, in one step.

    On any failure nothing is left, and an earlier target is as it was. Raises TargetExists where the target has come
    to be meanwhile, unless it may be replaced.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is not a folder, so {path.name} cannot be written there")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"{path.name} cannot be written: nothing may be written to {path.parent}")
    _remove_abandoned(path)
    kind = _folder if folder else _unnamed_then_linked
    try:
        with kind(path, replace) as temporary:
            yield temporary
    except OSError as error:
        if error.errno in SPENT:
            raise OSError(error.errno, f"{os.strerror(error.errno)}: {path} was not written") from error
        raise


@contextmanager
def _unnamed_then_linked(path: Path, replace: bool) -> Iterator[Path]:
    handle = None
    if NAMELESS is not None:
        with contextlib.suppress(OSError):
            handle = os.open(path.parent, NAMELESS | os.O_RDWR, 0o666)
    if handle is None or not Path(f"/proc/self/fd/{handle}").exists():
        with _visible_then_renamed(path, replace) as temporary:
            yield temporary
        return
    try:
        whole = Path(f"/proc/self/fd/{handle}")
        yield whole
        os.fsync(handle)
        with _hidden(path) as hidden:
            _link(whole, hidden if replace else path)
            if replace:
                hidden.replace(path)
        sync(path.parent)
    finally:
        os.close(handle)


@contextmanager
def _visible_then_renamed(path: Path, replace: bool) -> Iterator[Path]:
    with _hidden(path) as hidden:
        hidden.touch(exist_ok=False)
        yield hidden
        sync(hidden)
        if replace:
            hidden.replace(path)
        else:
            _link(hidden, path)
        sync(path.parent)


@contextmanager
def _folder(path: Path, replace: bool) -> Iterator[Path]:
    with _hidden(path) as hidden:
        yield hidden
        for inner in [*hidden.rglob("*"), hidden]:
            sync(inner)
        _replace_folder(hidden, path) if replace else _move(hidden, path)
        sync(path.parent)


@contextmanager
def _hidden(path: Path) -> Iterator[Path]:
    """A name beside the target that tells whose it is, and is gone in the end."""
    hidden = path.with_name(f".{path.name}.{HOST}-{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        yield hidden
    finally:
        _remove(hidden)


def _remove_abandoned(path: Path) -> None:
    """What writers of this target have left that are no longer alive; of those on other machines nothing is known."""
    named = re.compile(rf"\.{re.escape(path.name)}\.{HOST}-(\d+)-[0-9a-f]{{8}}\.part")
    for beside in list(path.parent.iterdir()):
        found = named.fullmatch(beside.name)
        if found and not _alive(int(found[1])):
            with contextlib.suppress(OSError):
                _remove(beside)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    with contextlib.suppress(OSError):  # one that was killed has its number until it is waited for
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _link(whole: Path, path: Path) -> None:
    """Give the file one more name. A folder's descriptor makes Python follow the link that /proc has for the file."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.link(whole, path, src_dir_fd=folder, follow_symlinks=True)
    except FileExistsError as error:
        raise _exists(path) from error
    finally:
        os.close(folder)


def _move(hidden: Path, path: Path) -> None:
    try:
        hidden.rename(path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise _exists(path) from error
        raise


def _replace_folder(hidden: Path, path: Path) -> None:
    """Another writer may have made the target meanwhile; a link to nothing looks as if there were none."""
    if path.exists():
        return _exchange(hidden, path)
    try:
        _move(hidden, path)
    except TargetExists:
        _exchange(hidden, path)


def _exchange(hidden: Path, path: Path) -> None:
    """Swap two folders in one step; the earlier target is then the hidden one, and is removed."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        raise WriteFailed(f"{path} was not written: this system cannot replace a folder in one step; remove it first")
    if library.renameat2(AT_FDCWD, os.fsencode(hidden), AT_FDCWD, os.fsencode(path), RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)}, in replacing {path}")


def _exists(path: Path) -> TargetExists:
    return TargetExists(f"{path} is already there: choose another name, or overwrite it with --force (force=True)")


def sync(path: Path) -> None:
    """Wait until a file, or what a folder lists, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
