"""`se-resnet list`."""

from fnmatch import fnmatchcase
from typing import Any

import click

import se_spec
from se_cli.options import output_options
from se_cli.output import Output, table


@click.command("list")
@click.argument("pattern", default="*")
@output_options
def command(pattern: str, as_json: bool, quiet: bool) -> None:
    """List the architectures whose names match PATTERN, with their parameter counts and multiply-adds.

    PATTERN may contain shell wildcards, such as se_resnet*; all architectures are listed without it.
    """
    architectures = [se_spec.architecture(name) for name in se_spec.list_architectures() if fnmatchcase(name, pattern)]
    entries: list[dict[str, Any]] = [
        {
            "name": architecture.name,
            "parameters": se_spec.parameter_count(architecture),
            "multiply_adds": se_spec.multiply_adds(architecture),
            "image_size": architecture.image_size,
            "num_classes": architecture.num_classes,
        }
        for architecture in architectures
    ]
    rows = [
        (
            entry["name"],
            f"{entry['parameters']:,}",
            f"{entry['multiply_adds'] / 1e9:.2f} G at {entry['image_size']}x{entry['image_size']}",
            str(entry["num_classes"]),
        )
        for entry in entries
    ]
    columns = "name", "parameters", "multiply-adds", "classes"
    text = table(*columns, rows=rows, right=columns[1:]) if rows else f"no architecture matches {pattern!r}"
    Output(as_json, quiet).show_result({"architectures": entries}, text)
