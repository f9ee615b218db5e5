"""`se-resnet list`."""

from fnmatch import fnmatchcase
from typing import Any

import click

import se_hub
import se_spec
from se_cli.options import output_options
from se_cli.output import Output, table
from se_weights.catalogue import PublishedFile


@click.command("list")
@click.argument("pattern", default="*")
@click.option("--pretrained", is_flag=True, help="List the published weights that can be fetched by name.")
@output_options
def command(pattern: str, pretrained: bool, as_json: bool, quiet: bool) -> None:
    """List the architectures whose names match PATTERN, with their parameter counts and multiply-adds.

    PATTERN may contain shell wildcards, such as se_resnet*; all architectures are listed without it. With --pretrained,
    it may also be a name in the code base that published the weights, such as seresnet50.a1*.
    """
    if pretrained:
        _list_pretrained(pattern, Output(as_json, quiet))
        return
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


def _list_pretrained(pattern: str, output: Output) -> None:
    """Show the published weights that match a pattern."""
    entries = [_entry(row) for row in se_hub.pretrained_files(pattern)]
    columns = "architecture", "weights", "size", "top-1", "licence"
    rows = [
        (entry["architecture"], entry["weights"], str(entry["image_size"] or ""), entry["top_1"], entry["licence"])
        for entry in entries
    ]
    text = table(*columns, rows=rows, right=("size", "top-1")) if rows else f"no published weights match {pattern!r}"
    output.show_result({"weights": entries}, text)


def _entry(row: PublishedFile) -> dict[str, Any]:
    return {
        "architecture": row.architecture.name,
        "weights": se_hub.identity(row),
        "default": row.default,
        "source": row.source,
        "address": f"hf://{row.repository}" if row.repository else row.url,
        "licence": row.licence,
        "image_size": row.preprocessing.size if row.preprocessing else None,
        "num_classes": row.architecture.num_classes,
        "top_1": row.accuracy,
    }
