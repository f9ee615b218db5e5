"""Files of other hosts, which are kept only if they have the hash that the catalogue says."""

import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from typing import IO
from urllib.parse import unquote, urlsplit

from se_hub.errors import DownloadFailed, WrongContent
from se_weights.catalogue import file_hash

TIMEOUT = 30
"""Seconds without an answer after which a download fails."""

LARGEST = 8 << 30
"""Bytes of a file beyond which it is none of the catalogue."""

CHUNK = 1 << 20
"""Bytes that are read at once."""


def cache_folder() -> Path:
    """Where files of other hosts and converted files lie: SE_RESNET_CACHE, or se-resnet in the user's cache folder."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("SE_RESNET_CACHE") or Path(caches) / "se-resnet")


def fetch(url: str, algorithm: str, digits: str) -> tuple[Path, bool]:
    """The path of a file, and whether it was downloaded now.

    Args:
        url: Its address. Of an archive with one file, as pytorchcv publishes them, that file is kept.
        algorithm: The algorithm of its hash, as `hashlib` names it.
        digits: The first digits of its hash, or all.
    """
    name = unquote(PurePosixPath(urlsplit(url).path).name).removesuffix(".zip")
    folder = cache_folder() / "files" / digits[:16]
    path = folder / name
    if path.is_file():
        _check(url, path, algorithm, digits)
        return path, False
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
    temporary = Path(unfinished)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _download(url, file)
        _extract(url, temporary)
        _check(url, temporary, algorithm, digits)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path, True


def _download(url: str, file: IO[bytes]) -> None:
    """Write what an address sends into a file. Raises DownloadFailed if it cannot be reached or sends less."""
    for chunk in _chunks(url):
        file.write(chunk)


def _chunks(url: str) -> Iterator[bytes]:
    import urllib.request  # takes as long to import as the rest of se_hub ten times over
    from http.client import HTTPException

    size = 0
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            announced = int(answer.headers.get("Content-Length") or 0)
            while chunk := answer.read(CHUNK):
                size += len(chunk)
                if size > LARGEST:
                    raise ValueError(f"it sends more than {LARGEST:,} bytes")
                yield chunk
    except (OSError, HTTPException, ValueError) as error:
        raise DownloadFailed(f"{url}: the download failed ({error}): try again, or download it by yourself") from error
    if announced and size != announced:
        raise DownloadFailed(f"{url} sent {size:,} of {announced:,} bytes: try again")


def _extract(url: str, path: Path) -> None:
    """Replace an archive of one file by that file."""
    if not url.endswith(".zip"):
        return
    with tempfile.TemporaryFile(dir=path.parent) as extracted:
        for chunk in _extracted(url, path):
            extracted.write(chunk)
        extracted.seek(0)
        with path.open("wb") as file:
            copyfileobj(extracted, file)


def _extracted(url: str, path: Path) -> Iterator[bytes]:
    """The content of the file in an archive. Raises WrongContent if it is damaged or has another number of files."""
    try:
        with zipfile.ZipFile(path) as archive:
            (member,) = archive.infolist()
            if member.file_size > LARGEST:
                raise ValueError(f"a file of {member.file_size:,} bytes")
            with archive.open(member) as source:
                while chunk := source.read(CHUNK):
                    yield chunk
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError) as error:  # the last for passwords
        raise WrongContent(f"{url} is not an archive of one file: {error}") from error


def _check(url: str, path: Path, algorithm: str, digits: str) -> None:
    found = file_hash(path, algorithm)
    if not found.startswith(digits):
        path.unlink(missing_ok=True)
        raise WrongContent(
            f"{url}: its {algorithm} is {found}, and the catalogue says {digits}. It was removed: download it again"
        )
