"""Architectures as users name them: a name, and settings that tensors do not show."""

import json
from collections.abc import Mapping
from typing import Any

from se_spec import ArchitectureError

INFERRED = "inferred"
"""The name of the architecture that the tensors show."""


def parse_architecture(text: str) -> tuple[str, dict[str, Any]]:
    """The name of an architecture, and settings that tensors do not show: "resnet50:stride_in=conv1,stem.pool=ceil".

    Args:
        text: The name, or "inferred"; after a colon, settings by their dotted names.

    Returns:
        The name, and the settings as `Architecture.replace` takes them.

    Raises:
        ArchitectureError: A setting has no value.
    """
    name, _, listed = text.partition(":")
    settings: dict[str, Any] = {}
    for item in filter(None, listed.split(",")):
        setting, equals, value = item.partition("=")
        if not equals:
            raise ArchitectureError(f"{item!r} in {text!r} is not a setting and its value, such as stride_in=conv1")
        group, _, field = setting.partition(".")
        parsed = _parse_value(value)
        settings[group] = {**settings.get(group, {}), field: parsed} if field else parsed
    return name, settings


def format_architecture(name: str, settings: Mapping[str, object]) -> str:
    """The text that `parse_architecture` reads.

    Args:
        name: The name of the architecture.
        settings: The settings by their dotted names.
    """
    values = (
        f"{setting}={value if isinstance(value, str) else json.dumps(value)}" for setting, value in settings.items()
    )
    return f"{name}:{','.join(values)}" if settings else name


def _parse_value(text: str) -> object:
    try:
        return json.loads({"True": "true", "False": "false"}.get(text, text))
    except ValueError:
        return text
