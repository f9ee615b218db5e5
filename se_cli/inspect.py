"""`se-resnet inspect`."""

from pathlib import Path

import click

import se_spec
import se_weights
from se_cli.options import architecture_option, output_options
from se_cli.output import Output, table
from se_weights.files import format_of


@click.command("inspect")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dialect", metavar="NAME", help="How to read the file, where its tensors fit more than one dialect.")
@architecture_option
@output_options
def command(file: Path, dialect: str | None, architecture: str | None, as_json: bool, quiet: bool) -> None:
    """What FILE holds: format, dialect, architecture, tensors, hashes."""
    checkpoint = se_weights.read(file, dialect=dialect, architecture=architecture)
    tensors = [
        {"name": name, "shape": list(array.shape), "dtype": array.dtype.name, "sha256": se_weights.tensor_sha256(array)}
        for name, array in checkpoint.weights.items()
    ]
    facts = {
        "file": str(file),
        "format": format_of(file).name,
        "bytes": file.stat().st_size,
        "sha256": checkpoint.metadata["source_sha256"],
        "dialect": checkpoint.dialect,
        "architecture": checkpoint.architecture.facts,
        "parameters": se_spec.parameter_count(checkpoint.architecture),
        "weights_sha256": se_weights.weights_sha256(checkpoint.weights),
        "metadata": dict(checkpoint.metadata),
        "tensors": tensors,
    }
    summary = table(
        "",
        "",
        rows=[
            ("format", f"{facts['format']}, {facts['bytes']:,} bytes, sha256 {facts['sha256']}"),
            ("dialect", f"{checkpoint.dialect}: {se_weights.DIALECTS[checkpoint.dialect].summary}"),
            ("architecture", ", ".join(f"{fact}={value}" for fact, value in checkpoint.architecture.facts.items())),
            ("parameters", f"{facts['parameters']:,}"),
            ("weights", f"sha256 {facts['weights_sha256']}, the same in every format and dialect"),
        ],
    )
    rows = [(str(t["name"]), str(tuple(t["shape"])), str(t["dtype"]), str(t["sha256"])[:16]) for t in tensors]
    Output(as_json, quiet).result(facts, summary, "", table("tensor", "shape", "dtype", "sha256", rows=rows))
