"""The SHA-256 hash of a file or a folder on the disk."""

import hashlib
from collections.abc import Callable
from pathlib import Path

CHUNK = 2**20
"""Bytes that are read and hashed as one block."""


def file_sha256(path: Path, wanted: Callable[[], bool] = lambda: True) -> str:
    """Hashes a file or a folder.

    Args:
        path: The file. The hash of a folder is that of the list of its files with their hashes.
        wanted: Called before each block; hashing stops as soon as it returns False.

    Returns:
        The hash in hexadecimal.
    """
    if not path.is_dir():
        return _sha256(path, wanted)
    files = sorted(inner for inner in path.rglob("*") if inner.is_file())
    lines = [f"{inner.relative_to(path).as_posix()} {_sha256(inner, wanted)}\n" for inner in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _sha256(path: Path, wanted: Callable[[], bool]) -> str:
    digest, buffer = hashlib.sha256(), bytearray(CHUNK)
    with path.open("rb", buffering=0) as file:
        while wanted() and (length := file.readinto(buffer)):
            digest.update(memoryview(buffer)[:length])
    return digest.hexdigest()
