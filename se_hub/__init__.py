"""Published weights by name: finding them in the catalogue, downloading them, and checking what was downloaded."""

from se_hub.address import HubAddress, is_address
from se_hub.checkpoint import read, read_pretrained
from se_hub.errors import DownloadFailed, MissingFile, UnknownWeights, WrongContent
from se_hub.pretrained import find_pretrained, identity, pretrained_files
from se_hub.retrieval import fetch, fetch_published, locate

__all__ = [
    "DownloadFailed",
    "HubAddress",
    "MissingFile",
    "UnknownWeights",
    "WrongContent",
    "fetch",
    "fetch_published",
    "find_pretrained",
    "identity",
    "is_address",
    "locate",
    "pretrained_files",
    "read",
    "read_pretrained",
]
