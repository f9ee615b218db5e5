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
    help="The dialect to write (torch, timm, cadene, ...). Where that cannot be meant or SOURCE fits several, to read.",
)
@click.option("--source-dialect", metavar="NAME", help="The dialect to read, where --dialect names the one to write.")
@click.option("--rgb-input", is_flag=True, help="SOURCE takes BGR images: reverse its first convolution's inputs.")
@click.option(
    "--standard-classes",
    is_flag=True,
    help="SOURCE numbers ILSVRC's classes as the authors' Caffe does: reorder.",
)
@architecture_option
@click.option("--force", is_flag=True, help="Overwrite a target that is already there.")
@output_options
def command(
    source: Path,
    target: Path,
    dialect: str | None,
    source_dialect: str | None,
    rgb_input: bool,
    standard_classes: bool,
    architecture: str | None,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Convert SOURCE to TARGET. Formats by suffix: .pth .pt .safetensors .weights.h5 .keras .msgpack .npz

    The target is read back and compared bit for bit before it takes its name.
    """
    output = Output(as_json, quiet)
    asked = ((rgb_input, se_weights.rgb_input), (standard_classes, se_weights.standard_classes))
    changes = [change for wanted, change in asked if wanted]
    began = time.perf_counter()
    with output.progress_console.status(f"converting {source.name} to {target.name}"):
        checkpoint = se_weights.convert(
            source,
            target,
            dialect=dialect,
            source_dialect=source_dialect,
            architecture=architecture,
            changes=changes,
            force=force,
        )
    seconds = time.perf_counter() - began
    beside = checkpoint.metadata.get("left", "").split()
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
        "left": beside,
        "reordered": checkpoint.metadata.get("reordered", ""),
        "seconds": seconds,
    }
    unwrapped = f" (found under {', '.join(wrappers)})" if wrappers else ""
    left = f"; left: {', '.join(beside)}" if beside else ""
    reordered = f", {facts['reordered']}" if facts["reordered"] else ""
    written = f"{facts['tensors']} tensors, {facts['bytes']:,} bytes, read back and equal{reordered}, {seconds:.2f} s"
    output.result(
        facts,
        f"{source}: {checkpoint.architecture.name} in the dialect {checkpoint.dialect}{unwrapped}{left}",
        f"{target}: {written}",
    )
