"""`se-resnet inspect`."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

import se_spec
import se_weights
from se_cli.options import PATH, architecture_option, output_options
from se_cli.output import Output, definitions, listing, size_of, table
from se_weights import AmbiguousDialect
from se_weights.files import detect_format

SAID = ("unwrapped", "left", "reordered", "identified")
"""What the metadata tells of how the tensors were found and changed."""


@click.command("inspect")
@click.argument("file", type=PATH)
@click.option("--dialect", metavar="NAME", help="How to read the file, where its tensors fit more than one dialect.")
@architecture_option
@output_options
def command(file: Path, dialect: str | None, architecture: str | None, as_json: bool, quiet: bool) -> None:
    """What FILE holds: format, dialect, architecture, preprocessing, tensors, hashes.

    Where its tensors fit several dialects, the candidates are listed with the facts in which they differ.
    """
    output = Output(as_json, quiet)
    held = {
        "file": str(file),
        "format": detect_format(file)[0].name,
    }
    try:
        checkpoint = se_weights.read(file, dialect=dialect, architecture=architecture, hashed=True)
    except AmbiguousDialect as error:
        content = {"bytes": size_of(file), "sha256": se_weights.file_sha256(file)}
        rows = [(name, line) for name, line in error.candidates.items()]
        drawn = table("dialect", "what it would be", rows=rows)
        said = f"{file}: {held['format']}; its tensors do not tell which of these it is. Say it with --dialect, or let "
        output.result(
            {**held, **content, "candidates": error.candidates},
            said + "`se-resnet identify` find it from a few outputs.",
            drawn,
        )
        return
    tensors = [
        {"name": name, "shape": list(array.shape), "dtype": array.dtype.name, "sha256": checkpoint.hashes[name]}
        for name, array in checkpoint.weights.items()
    ]
    preprocessing = checkpoint.preprocessing
    noted = se_weights.notes(checkpoint)
    facts = {
        **held,
        "bytes": size_of(file),
        "sha256": checkpoint.metadata["source_sha256"],
        "dialect": checkpoint.dialect,
        "architecture": checkpoint.architecture.to_dict(),
        "preprocessing": asdict(preprocessing) if preprocessing else None,
        "parameters": se_spec.parameter_count(checkpoint.architecture),
        "weights_sha256": checkpoint.weights_sha256,
        "metadata": dict(checkpoint.metadata),
        "notes": noted,
        "tensors": tensors,
    }
    expected = _said(asdict(preprocessing)) if preprocessing else "not known"
    summary = definitions(
        [
            ("format", f"{facts['format']}, {facts['bytes']:,} bytes, sha256 {facts['sha256']}"),
            ("dialect", f"{checkpoint.dialect}: {se_weights.DIALECTS[checkpoint.dialect].summary}"),
            *(
                (key, checkpoint.metadata[key])
                for key in ("unwrapped", "left", "reordered")
                if key in checkpoint.metadata
            ),
            ("architecture", _said(checkpoint.architecture.to_dict())),
            ("preprocessing", expected),
            ("parameters", f"{facts['parameters']:,}"),
            *(("note", note) for note in noted),
            ("weights", f"sha256 {facts['weights_sha256']}, the same in every format and dialect"),
        ],
    )
    listed = [
        (name, str(array.shape), array.dtype.name, checkpoint.hashes[name][:16])
        for name, array in checkpoint.weights.items()
    ]
    output.result(facts, summary, "", listing("tensor", "shape", "dtype", "sha256", rows=listed))


def _said(facts: Mapping[str, Any], prefix: str = "") -> str:
    """Facts in a line, those of a group by their dotted names."""
    parts = (
        _said(value, f"{prefix}{fact}.") if isinstance(value, Mapping) else f"{prefix}{fact}={value}"
        for fact, value in facts.items()
    )
    return ", ".join(parts)
