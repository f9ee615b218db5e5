"""The hash of a file or a folder as it lies on the disk."""

import hashlib
from collections.abc import Callable
from pathlib import Path

CHUNK = 2**20
"""Bytes that are hashed at once."""


def file_sha256(path: Path, wanted: Callable[[], bool] = lambda: True) -> str:
    """The hash of a file; of a folder, that of the list of its files with theirs. Stops where it is wanted no more."""
    if not path.is_dir():
        return _sha256(path, wanted)
    files = sorted(inner for inner in path.rglob("*") if inner.is_file())
    lines = [f"{inner.relative_to(path).as_posix()} {_sha256(inner, wanted)}\n" for inner in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _sha256(path: Path, wanted: Callable[[], bool]) -> str:
    digest, piece = hashlib.sha256(), bytearray(CHUNK)
    with path.open("rb", buffering=0) as file:
        while wanted() and (length := file.readinto(piece)):
            digest.update(memoryview(piece)[:length])
    return digest.hexdigest()
