"""The published files of these families that are not read, from `unread.tsv`, each with the reason."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

UNREAD = Path(__file__).with_name("unread.tsv")
UNREAD_COLUMNS = ("source", "name", "tag", "repository", "url", "licence", "reason")


@dataclass(frozen=True)
class UnreadFile:
    """A published file of these families that is not read.

    Attributes:
        source: The code base.
        name: The name of the network in the code base.
        tag: The name of the weights.
        repository: The repository on Hugging Face's hub, or empty.
        url: The address on another host, or empty.
        licence: What the code base says of the licence of the weights.
        reason: Why it is not read.
    """

    source: str
    name: str
    tag: str
    repository: str
    url: str
    licence: str
    reason: str


def unread_files() -> Iterator[UnreadFile]:
    """Every published file that is not read."""
    with UNREAD.open(encoding="utf-8") as table:
        for row in csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE):
            yield UnreadFile(**row)
