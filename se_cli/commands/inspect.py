"""`se-resnet inspect`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any

import click

import se_spec
import se_weights
from se_cli.options import PATH, WEIGHTS, architecture_option, output_options, prefix_option
from se_cli.output import Output, definition_list, plain_table, size_in_bytes, table
from se_cli.presentation.graph_picture import draw_graph
from se_spec import Architecture
from se_weights import AmbiguousDialect
from se_weights.files import detect_format
from se_weights.writing.atomic_write import atomic_write

HISTORY = {"unwrapped": "found under", "left": "left out", "objects": "objects not read", "reordered": "reordered"}
"""Metadata of how the tensors were found and changed, and what the summary calls it."""


@click.command("inspect")
@click.argument("file", type=WEIGHTS)
@click.option("--dialect", metavar="NAME", help="The dialect to read the file in, where its tensors match several.")
@architecture_option
@prefix_option
@click.option("--tensors", is_flag=True, help="Also list every tensor with its shape, type and hash.")
@click.option("--graph", is_flag=True, help="Also list every operation with its output, parameters and multiply-adds.")
@click.option("--picture", type=PATH, metavar="SVG", help="Also draw the operations in an SVG file.")
@click.option("--force", is_flag=True, help="Overwrite an existing picture.")
@output_options
def command(
    file: Path,
    dialect: str | None,
    architecture: str | None,
    prefix: str | None,
    tensors: bool,
    graph: bool,
    picture: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Show what FILE contains: format, dialect, architecture, preprocessing, hashes, and the call that creates its
    model.

    Where the tensors match several dialects or published networks, these are listed with what tells them apart.
    """
    if force and not picture:
        raise click.UsageError("--force overwrites a picture: name it with --picture")
    output = Output(as_json, quiet)
    format_name = detect_format(file)[0].name
    try:
        checkpoint = se_weights.read(file, dialect=dialect, architecture=architecture, prefix=prefix, hashed=True)
    except AmbiguousDialect as error:
        if graph or picture:
            raise
        output.show_result(
            {
                "file": str(file),
                "format": format_name,
                "bytes": size_in_bytes(file),
                "sha256": se_weights.file_sha256(file),
                "candidates": error.candidates,
            },
            f"{format_name}: {str(error).splitlines()[0]}",
            table("candidate", "description", rows=list(error.candidates.items())),
        )
        return
    preprocessing = checkpoint.preprocessing
    notes = se_weights.notes(checkpoint)
    result = {
        "file": str(file),
        "format": format_name,
        "bytes": size_in_bytes(file),
        "sha256": checkpoint.metadata["source_sha256"],
        "dialect": checkpoint.dialect,
        "architecture": checkpoint.architecture.to_dict(),
        "create_model": se_spec.create_model_call(checkpoint.architecture),
        "preprocessing": asdict(preprocessing) if preprocessing else None,
        "parameters": se_spec.parameter_count(checkpoint.architecture),
        "weights_sha256": checkpoint.weights_sha256,
        "metadata": dict(checkpoint.metadata),
        "notes": notes,
        "tensors": [
            {"name": name, "shape": list(array.shape), "dtype": array.dtype.name, "sha256": checkpoint.hashes[name]}
            for name, array in checkpoint.weights.items()
        ],
    }
    summary = definition_list(
        [
            ("format", f"{format_name}, {result['bytes']:,} bytes, sha256 {result['sha256']}"),
            ("dialect", f"{checkpoint.dialect}: {se_weights.DIALECTS[checkpoint.dialect].summary}"),
            *((label, checkpoint.metadata[key]) for key, label in HISTORY.items() if key in checkpoint.metadata),
            ("architecture", checkpoint.architecture.name),
            ("created by", f"se_torch, se_tf or se_flax.{result['create_model']}"),
            ("preprocessing", _format_config(asdict(preprocessing)) if preprocessing else "unknown"),
            ("parameters", f"{result['parameters']:,}"),
            *(("note", note) for note in notes),
            ("weights", f"sha256 {checkpoint.weights_sha256}, the same in every format and dialect"),
        ],
    )
    rows = [
        (name, str(array.shape), array.dtype.name, checkpoint.hashes[name][:16])
        for name, array in checkpoint.weights.items()
    ]
    listing = ["", plain_table("tensor", "shape", "dtype", "sha256", rows=rows)] if tensors else []
    if graph:
        listed = _operations(checkpoint.architecture)
        result["graph"] = listed
        listing += ["", _operations_table(checkpoint.architecture, listed)]
    if picture:
        size = checkpoint.architecture.image_size
        text = draw_graph(checkpoint.architecture.graph, (checkpoint.architecture.in_channels, size, size))
        with atomic_write(picture, replace=force) as temporary:
            temporary.write_text(text)
    output.show_result(result, summary, *listing)


def _operations(architecture: Architecture) -> list[dict[str, Any]]:
    """Every operation of a network, for an image of the size that the papers use."""
    side = architecture.image_size
    shapes = architecture.graph.shapes((architecture.in_channels, side, side))
    return [
        {
            "path": node.path,
            "operation": type(node.operation).__name__,
            "inputs": list(node.inputs),
            "output": list(shapes[node.path]),
            "parameters": sum(prod(shape) for role, shape in node.operation.parameters if role.learned),
            "multiply_adds": node.operation.multiply_adds(*inputs),
        }
        for node, inputs in architecture.graph.with_inputs(shapes)
    ]


def _operations_table(architecture: Architecture, operations: Sequence[Mapping[str, Any]]) -> str:
    """The operations as rows, and their sum."""
    side = architecture.image_size
    counts = [(each["parameters"], each["multiply_adds"]) for each in operations]
    rows = [
        (
            each["path"],
            each["operation"],
            "x".join(map(str, each["output"])),
            *(f"{count:,}" if count else "" for count in numbers),
        )
        for each, numbers in zip(operations, counts, strict=True)
    ]
    total = (f"{sum(numbers):,}" for numbers in zip(*counts, strict=True))
    return plain_table(
        *("path", "operation", "output", "parameters", "multiply-adds"),
        rows=[*rows, (f"{len(rows)} operations", "", f"of {architecture.in_channels}x{side}x{side}", *total)],
    )


def _format_config(config: Mapping[str, Any], prefix: str = "") -> str:
    """A config on one line, with dotted names for the fields of a group."""
    parts = (
        _format_config(value, f"{prefix}{field}.") if isinstance(value, Mapping) else f"{prefix}{field}={value}"
        for field, value in config.items()
    )
    return ", ".join(parts)
