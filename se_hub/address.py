"""Addresses of weights on other hosts: "hf://owner/name[@revision][/file]", and https addresses of the catalogue."""

import re
from dataclasses import dataclass
from typing import Self

from se_hub.errors import UnknownWeights

HUB = "hf://"
WEB = ("https://", "http://")

NAME = r"[A-Za-z0-9][\w.-]*"
FORM = re.compile(rf"({NAME}/{NAME})(?:@([\w.-]+(?:/[\w.-]+)*?))?(?:/({NAME}(?:/{NAME})*))?", re.ASCII)


@dataclass(frozen=True)
class HubAddress:
    """A file of a repository on Hugging Face's hub.

    Attributes:
        repository: The repository, as "owner/name".
        revision: A branch, tag or commit, or None for the newest one.
        file: The path of the file in the repository, or None for the weights that it has.
    """

    repository: str
    revision: str | None = None
    file: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse "hf://owner/name@revision/file"; revision and file may be left out.

        Raises:
            UnknownWeights: The text has another form.
        """
        found = FORM.fullmatch(text.removeprefix(HUB))
        if not text.startswith(HUB) or not found:
            raise UnknownWeights(f"{text!r} is not an address of the form hf://owner/name[@revision][/file]")
        return cls(*found.groups())

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{HUB}{self.repository}{revision}" + (f"/{self.file}" if self.file else "")


def is_address(text: object) -> bool:
    """Whether a path is an address on another host."""
    return isinstance(text, str) and text.startswith((HUB, *WEB))
