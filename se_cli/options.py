"""The options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]

PATH = click.Path(path_type=Path, readable=False)
"""A path that click takes as it is: whether it can be read is said where it is read, as input or output that failed."""


def output_options(command: Command) -> Command:
    """`--json` and `--quiet`."""
    command = click.option("--quiet", "-q", is_flag=True, help="Say nothing but errors.")(command)
    return click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output, nothing else.")(
        command
    )


def architecture_option(command: Command) -> Command:
    return click.option("--architecture", metavar="NAME", help="The architecture, where the tensors cannot tell it.")(
        command
    )


def settling_option(command: Command) -> Command:
    return click.option(
        "--dialect",
        metavar="NAME",
        help="How to read a file whose tensors fit several dialects; no other file needs it.",
    )(command)


def names(text: str | None, known: tuple[str, ...], option: str) -> list[str]:
    """The names in a comma-separated option, each one known; none where the option was left out."""
    chosen = [name.strip() for name in (text or "").split(",") if name.strip()]
    for name in chosen:
        if name not in known:
            raise click.BadParameter(f"{name!r} is not one of {', '.join(known)}", param_hint=option)
    return chosen
