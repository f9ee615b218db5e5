"""Parses JSON of untrusted files: one object of limited size, with no duplicate keys."""

import json
from collections.abc import Mapping
from typing import Any

from se_weights.files.limits import HEADER
from se_weights.refusals import refuse


class DuplicateKey(ValueError):
    """A key occurs twice in one object."""


def parse_object(content: bytes | bytearray | str, reason: str) -> dict[str, Any]:
    """Parses a document that must be a JSON object.

    Args:
        content: The document, in UTF-8 if it is bytes.
        reason: The id of the refusal for a document that is too long, not JSON or not an object.

    Raises:
        WeightsError: The document is refused.
        DuplicateKey: A key occurs twice in one of its objects.
    """
    if len(content) > HEADER:
        raise refuse(reason, f"{len(content):,} bytes are more than the {HEADER:,} that it may have")
    try:
        text = content.decode() if isinstance(content, bytes | bytearray) else content
        document = json.loads(text, object_pairs_hook=_unique)
    except DuplicateKey:
        raise
    except (ValueError, RecursionError) as error:
        raise refuse(reason, f"it is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise refuse(reason, f"it is a {type(document).__name__}, not an object")
    return document


def parse_metadata(content: bytes | bytearray | str) -> dict[str, str]:
    """Parses the metadata that se-resnet writes: an object of strings, or nothing. Raises WeightsError."""
    try:
        document = parse_object(content or "{}", "metadata.json")
    except DuplicateKey as error:
        raise refuse("metadata.json", str(error)) from error
    return check_strings(document)


def check_strings(document: Mapping[str, Any]) -> dict[str, str]:
    """The same metadata if all values are strings. Raises WeightsError."""
    for name, value in document.items():
        if not isinstance(value, str):
            raise refuse("metadata.json", f"{name} is a {type(value).__name__}, not a string")
    return dict(document)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        keys = [key for key, _ in pairs]
        raise DuplicateKey(f"{next(key for key in keys if keys.count(key) > 1)} occurs twice")
    return document
