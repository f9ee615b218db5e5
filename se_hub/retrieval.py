"""Fetches files of weights from other hosts, and returns where they lie on this machine."""

import logging
from pathlib import Path

from se_hub import hugging_face, web
from se_hub.address import HUB, HubAddress, is_address
from se_hub.errors import UnknownWeights
from se_hub.pretrained import is_fetchable
from se_weights.catalogue import PublishedFile
from se_weights.catalogue.published import all_files

logger = logging.getLogger("se_hub")


def fetch(address: str) -> Path:
    """The local copy of a file of weights, which is downloaded the first time.

    Files of Hugging Face's hub lie in its cache, and its environment variables hold (HF_HOME, HF_ENDPOINT, HF_TOKEN,
    HF_HUB_OFFLINE). Files of other hosts lie in the folder `cache_folder()` of `se_hub.web`.

    Args:
        address: "hf://owner/name[@revision][/file]", or an https address in the catalogue.

    Returns:
        The path of the file. Its content has the hash that the hub or the catalogue says.

    Raises:
        UnknownWeights: The address has another form, or is not in the catalogue, which has its hash.
        MissingFile: The hub has no such repository, revision or file.
        DownloadFailed: The host cannot be reached or refuses the file, or it is not in the cache and HF_HUB_OFFLINE
            is set.
        WrongContent: The content has another hash. It is removed.
        se_weights.MissingExtra: huggingface_hub is not installed.
    """
    if address.startswith(HUB):
        hub_address = HubAddress.parse(address)
        known = (row for row in all_files() if row.repository.partition("@")[0] == hub_address.repository)
        return _fetch_from_hub(hub_address, next(known, None))
    row = next((row for row in all_files() if row.url == address), None)
    if row is None or not row.digits:
        raise UnknownWeights(
            f"{address} is not in the catalogue of published files with a hash, so what it sends cannot be checked: "
            "download it by yourself, and pass the file"
        )
    return _fetch_from_web(row)


def locate(source: str) -> Path:
    """The path of weights, or of the local copy where they are named by an address, as `fetch` returns it."""
    return fetch(source) if is_address(source) else Path(source)


def fetch_published(row: PublishedFile) -> Path:
    """The local copy of a published file, as `fetch` returns it.

    Args:
        row: The row of the catalogue.
    """
    if not is_fetchable(row):
        raise UnknownWeights(f"{row.full_name} has no address with a hash: download it by yourself, and pass the file")
    if row.repository:
        repository, _, revision = row.repository.partition("@")
        return _fetch_from_hub(HubAddress(repository, revision or None), row)
    return _fetch_from_web(row)


def _fetch_from_hub(address: HubAddress, row: PublishedFile | None) -> Path:
    path, downloaded = hugging_face.fetch(address)
    if downloaded:
        _log_licence(str(address), row)
    return path


def _fetch_from_web(row: PublishedFile) -> Path:
    path, downloaded = web.fetch(row.url, row.hash_algorithm, row.digits)
    if downloaded:
        _log_licence(row.url, row)
    return path


def _log_licence(address: str, row: PublishedFile | None) -> None:
    licence = (row and row.licence) or "not known here: see where the file was published"
    warning = "; it does not allow commercial use" if "-nc" in licence else ""
    logger.warning("%s was downloaded. Licence: %s%s", address, licence, warning)
