"""`se-resnet convert`."""

import time
from pathlib import Path

import click

import se_weights
from se_cli.options import architecture_option, output_options
from se_cli.output import Output


@click.command("convert")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--dialect",
    metavar="NAME",
    help="The dialect to write (torch, timm, ...). Where the target's format has only its own, the one to read.",
)
@architecture_option
@click.option("--force", is_flag=True, help="Overwrite a target that is already there.")
@output_options
def command(
    source: Path, target: Path, dialect: str | None, architecture: str | None, force: bool, as_json: bool, quiet: bool
) -> None:
    """Convert SOURCE to TARGET. Formats by suffix: .pth .pt .safetensors .weights.h5 .keras .msgpack .npz

    The target is read back and compared bit for bit before it takes its name.
    """
    output = Output(as_json, quiet)
    began = time.perf_counter()
    with output.progress_console.status(f"converting {source.name} to {target.name}"):
        checkpoint = se_weights.convert(source, target, dialect=dialect, architecture=architecture, force=force)
    seconds = time.perf_counter() - began
    wrappers = checkpoint.metadata.get("unwrapped", "").split()
    facts = {
        "source": str(source),
        "target": str(target),
        "source_dialect": checkpoint.dialect,
        "architecture": checkpoint.architecture.facts,
        "tensors": len(checkpoint.weights),
        "bytes": target.stat().st_size,
        "weights_sha256": se_weights.weights_sha256(checkpoint.weights),
        "unwrapped": wrappers,
        "seconds": seconds,
    }
    unwrapped = f" (found under {', '.join(wrappers)})" if wrappers else ""
    output.result(
        facts,
        f"{source}: {checkpoint.architecture.name} in the dialect {checkpoint.dialect}{unwrapped}",
        f"{target}: {facts['tensors']} tensors, {facts['bytes']:,} bytes, read back and equal, {seconds:.2f} s",
    )
