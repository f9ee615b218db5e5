"""Files of Hugging Face's hub, by huggingface_hub, which does not check what it downloads: that is done here.

Measured with huggingface_hub 2.4.0: a server that sends a changed byte under the right ETag is believed. Its cache
names each file by its ETag, which is the SHA-256 of a large file and git's hash of a small one.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from se_hub.address import HubAddress
from se_hub.errors import DownloadFailed, MissingFile, WrongContent
from se_weights import MissingExtra
from se_weights.files.hashing import file_sha256
from se_weights.files.sharded import shard_names
from se_weights.reading.model_config import CONFIG, WEIGHTS

CHUNK = 1 << 20


def fetch(address: HubAddress) -> tuple[Path, bool]:
    """The path of a file in the hub's cache, and whether any of its files was downloaded now.

    Args:
        address: The file; without one, the weights of the repository. Its `config.json` is fetched too if there is one.
    """
    repository = _Repository(address)
    repository.find(CONFIG)
    path = repository.file(address.file) if address.file else repository.weights()
    if path.name.endswith(".index.json"):
        for shard in shard_names(path):
            repository.file(str(Path(address.file or "").parent / shard))
    return path, repository.downloaded


class NoSuchFile(MissingFile):
    """The repository does not have the file."""


class _Repository:
    """Files of one revision of a repository; the first one fixes the commit of the others."""

    def __init__(self, address: HubAddress) -> None:
        self.address = address
        self.revision = address.revision
        self.downloaded = False

    def find(self, name: str) -> Path | None:
        """The path of a file, or None if the repository does not have it."""
        try:
            return self.file(name)
        except NoSuchFile:
            return None
        except DownloadFailed:
            if self.is_known_to_lack(name):
                return None
            raise

    def weights(self) -> Path:
        """The path of the weights, under the first of the usual names."""
        for name in WEIGHTS:
            if path := self.find(name):
                return path
        raise MissingFile(f"{self.address} has none of {', '.join(WEIGHTS)}: name its file, as in {self.address}/FILE")

    def is_known_to_lack(self, name: str) -> bool:
        """Whether the cache remembers that the repository does not have a file, which counts where it is offline."""
        from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache

        return try_to_load_from_cache(self.address.repository, name, revision=self.revision) is _CACHED_NO_EXIST

    def file(self, name: str) -> Path:
        """The path of a file, whose content is checked each time."""
        try:
            from huggingface_hub import hf_hub_download, try_to_load_from_cache
        except ModuleNotFoundError as error:
            raise MissingExtra("files of Hugging Face's hub are fetched by huggingface_hub", "hub") from error
        with _errors(self.address, name):
            before = try_to_load_from_cache(self.address.repository, name, revision=self.revision)
            path = Path(hf_hub_download(self.address.repository, name, revision=self.revision))
        self.downloaded |= not isinstance(before, str)
        self.revision = path.relative_to(path.parents[len(Path(name).parts)]).parts[0]
        _check(self.address, path)
        return path


@contextmanager
def _errors(address: HubAddress, name: str) -> Iterator[None]:
    """Turns the errors of huggingface_hub into ours."""
    from huggingface_hub import errors

    where = HubAddress(address.repository, address.revision, name)
    try:
        yield
    except errors.GatedRepoError as error:
        raise DownloadFailed(
            f"{where}: the repository asks you to accept its terms: do so at "
            f"https://huggingface.co/{address.repository}, and set HF_TOKEN to a token of yours"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise MissingFile(
            f"{where}: there is no such repository, or it is private: check the name, or set HF_TOKEN"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise MissingFile(f"{where}: there is no such revision of the repository") from error
    except errors.LocalEntryNotFoundError as error:
        raise DownloadFailed(
            f"{where} is not in the cache, and the hub cannot be reached: check the connection, HF_ENDPOINT and "
            "HF_HUB_OFFLINE"
        ) from error
    except errors.EntryNotFoundError as error:
        raise NoSuchFile(f"{where}: there is no such file in the repository") from error
    except errors.HFValidationError as error:
        raise MissingFile(f"{where}: {error}") from error
    except Exception as error:  # also those of the HTTP library, which is another one from release to release
        raise DownloadFailed(f"{where}: the download failed ({type(error).__name__}: {error}): try again") from error


def _check(address: HubAddress, path: Path) -> None:
    """Compare a file with the hash by which the cache names it. Raises WrongContent, after removing it."""
    blob = path.resolve()
    if re.fullmatch(r"[0-9a-f]{64}", blob.name):
        found = file_sha256(blob)
    elif re.fullmatch(r"[0-9a-f]{40}", blob.name):
        found = git_hash(blob)
    else:
        found = ""
    if found != blob.name:
        for wrong in {path, blob}:
            wrong.unlink(missing_ok=True)
        said = f"its hash is {found}, and the hub says {blob.name}" if found else "the hub does not say its hash"
        raise WrongContent(
            f"{address}: {path.name} is not the file of the hub: {said}. It was removed: download it again"
        )


def git_hash(path: Path) -> str:
    """The hash by which git names a file, which the hub has for small files."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
