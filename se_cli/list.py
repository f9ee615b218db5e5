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
    """Architectures that match PATTERN (shell wildcards), with their parameters and multiply-adds."""
    known = [se_spec.architecture(name) for name in se_spec.list_architectures() if fnmatchcase(name, pattern)]
    found: list[dict[str, Any]] = [
        {
            "name": architecture.name,
            "parameters": se_spec.parameter_count(architecture),
            "multiply_adds": se_spec.multiply_adds(architecture),
            "image_size": architecture.image_size,
            "num_classes": architecture.num_classes,
        }
        for architecture in known
    ]
    rows = [
        (
            facts["name"],
            f"{facts['parameters']:,}",
            f"{facts['multiply_adds'] / 1e9:.2f} G at {facts['image_size']}x{facts['image_size']}",
            str(facts["num_classes"]),
        )
        for facts in found
    ]
    drawn = table(
        "name", "parameters", "multiply-adds", "classes", rows=rows, right=("parameters", "multiply-adds", "classes")
    )
    Output(as_json, quiet).result({"architectures": found}, drawn if found else f"no architecture matches {pattern!r}")
