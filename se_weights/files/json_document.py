"""JSON from a stranger's file: one object, no name twice, no longer than any header needs."""

import json
from collections.abc import Mapping
from typing import Any

from se_weights.files.limits import HEADER
from se_weights.refusals import refuse


class DuplicateKey(ValueError):
    """The same name stands twice in one object."""


def parse_object(content: bytes | bytearray | str, reason: str) -> dict[str, Any]:
    """The object in a document. Refuses anything else for the reason given. Raises NameTwice."""
    if len(content) > HEADER:
        raise refuse(reason, f"{len(content):,} bytes are more than the {HEADER:,} that it may have")
    try:
        text = content.decode() if isinstance(content, bytes | bytearray) else content
        document = json.loads(text, object_pairs_hook=_once)
    except DuplicateKey:
        raise
    except (ValueError, RecursionError) as error:
        raise refuse(reason, f"it is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise refuse(reason, f"it is a {type(document).__name__} where an object belongs")
    return document


def parse_metadata(content: bytes | bytearray | str) -> dict[str, str]:
    """What se-resnet wrote beside the tensors: texts by name."""
    try:
        document = parse_object(content or "{}", "metadata.json")
    except DuplicateKey as error:
        raise refuse("metadata.json", str(error)) from error
    return expect_texts(document)


def expect_texts(document: Mapping[str, Any]) -> dict[str, str]:
    for name, value in document.items():
        if not isinstance(value, str):
            raise refuse("metadata.json", f"{name} is a {type(value).__name__} where a text belongs")
    return dict(document)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise DuplicateKey(f"{next(name for name in names if names.count(name) > 1)} stands twice")
    return found
