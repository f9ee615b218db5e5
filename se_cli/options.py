"""Options that several commands share."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]

PATH = click.Path(path_type=Path, readable=False)
"""A path that click does not check: reading reports a missing or unreadable file, with exit status 6."""


class WeightsPath(click.Path):
    """A path of weights, or an address on another host, of which the local copy is taken."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        if "://" in str(value):
            import se_hub  # imports numpy, which --help and paths must not wait for

            if se_hub.is_address(value):
                return se_hub.fetch(value)
        return super().convert(value, parameter, context)


WEIGHTS = WeightsPath(path_type=Path, readable=False)
"""Weights to be read: a path, hf://owner/name[@revision][/file], or an https address of the catalogue."""


def output_options(command: Command) -> Command:
    """Adds `--json` and `--quiet`."""
    command = click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")(command)
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object on standard output, nothing else."
    )(command)


def architecture_option(command: Command) -> Command:
    """Adds `--architecture`."""
    return click.option(
        "--architecture",
        metavar="NAME",
        help="The architecture, where it cannot be inferred from the tensors; after a colon, settings that tensors do "
        "not show (resnet50:stride_in=conv1).",
    )(command)


def prefix_option(command: Command) -> Command:
    """Adds `--prefix`."""
    return click.option(
        "--prefix", metavar="NAME", help="The prefix of the network to read, in a file that contains several."
    )(command)


def dialect_option(command: Command) -> Command:
    """Adds `--dialect`, which only chooses among the dialects that a file's tensors match."""
    return click.option(
        "--dialect",
        metavar="NAME",
        help="The dialect to read a file in, where its tensors match several; ignored otherwise.",
    )(command)


FRAMEWORK_ALIASES = {"pytorch": "torch", "keras": "tf", "tensorflow": "tf", "jax": "flax", "nnx": "flax"}
"""Other names for the frameworks."""


def parse_names(
    text: str | None, known: tuple[str, ...], option: str, aliases: Mapping[str, str] | None = None
) -> list[str]:
    """Parse a comma-separated list of names.

    Args:
        text: The value of the option; None where it was left out.
        known: The names that are allowed.
        option: The option, for the error message.
        aliases: Other names that are allowed, and what they stand for.

    Returns:
        The names in the order in which they were listed; an empty list where the option was left out.

    Raises:
        click.BadParameter: A name is not among the known ones.
    """
    names = [(aliases or {}).get(name.strip(), name.strip()) for name in (text or "").split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise click.BadParameter(f"{name!r} is not one of {', '.join(known)}", param_hint=option)
    return names
