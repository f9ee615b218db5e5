"""`se-resnet convert`."""

import re
import time
from pathlib import Path
from typing import Any

import click

import se_spec
import se_weights
from se_cli.commands.convert_batch import BatchShardType, convert_batch
from se_cli.options import PATH, WEIGHTS, architecture_option, output_options, prefix_option
from se_cli.output import Output, size_in_bytes
from se_weights.batch import BatchShard, Options
from se_weights.provenance.conversion_record import record_path
from se_weights.transforms.cast import CAST, DTYPES, recorded_casts

UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}

BATCH_OPTIONS = ("suffix", "jobs", "resume", "shard")
"""Parameters that only `--batch` takes."""


class Size(click.ParamType):
    """A number of bytes, such as 50MB."""

    name = "size"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> int:
        match = re.fullmatch(r"([1-9]\d{0,11})(KB|MB|GB|)", str(value).upper())
        if not match:
            self.fail(f"{value!r} is not a size such as 50MB", parameter, context)
        return int(match[1]) * UNITS[match[2]]


@click.command("convert")
@click.argument("source", type=WEIGHTS)
@click.argument("target", type=PATH)
@click.option(
    "--dialect",
    metavar="NAME",
    help="The dialect to write (torch, timm, cadene, ...). It is the dialect to read instead where TARGET cannot be "
    "written in it, or where the tensors of SOURCE match several dialects.",
)
@click.option("--source-dialect", metavar="NAME", help="The dialect to read, where --dialect names the one to write.")
@click.option(
    "--rgb-input",
    is_flag=True,
    help="For a SOURCE that takes BGR images: reverse the input channels of the first convolution.",
)
@click.option(
    "--standard-classes",
    is_flag=True,
    help="For a SOURCE with the ImageNet class order of the authors' Caffe release: reorder to the standard order.",
)
@click.option("--fold-batchnorm", is_flag=True, help="Fold every batch norm into its convolution, for inference.")
@click.option(
    "--dtype", type=click.Choice(list(DTYPES)), help="Round the weights to this type and report the precision lost."
)
@architecture_option
@prefix_option
@click.option(
    "--max-shard-size", "shard_bytes", type=Size(), help="Largest size of each shard of a .hf folder, such as 50MB."
)
@click.option(
    "--manifest",
    is_flag=True,
    help="Also write the conversion record TARGET.manifest.json: source, architecture, changes and hashes.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing target.")
@click.option(
    "--batch", is_flag=True, help="Convert many files: SOURCE is a folder or a list of files, TARGET a folder."
)
@click.option(
    "--to",
    "suffix",
    default=".safetensors",
    show_default=True,
    callback=lambda context, parameter, suffix: "." + suffix.removeprefix("."),
    help="Batch: the suffix of the targets.",
)
@click.option(
    "--jobs", type=click.IntRange(1), help="Batch: files to convert in parallel; the number of CPUs by default."
)
@click.option("--resume", is_flag=True, help="Batch: resume an interrupted batch; finished files are skipped.")
@click.option(
    "--shard", type=BatchShardType(), default="1/1", help="Batch: convert only part I of N, chosen by file name."
)
@output_options
@click.pass_context
def command(
    context: click.Context,
    source: Path,
    target: Path,
    shard_bytes: int | None,
    batch: bool,
    suffix: str,
    jobs: int | None,
    resume: bool,
    shard: BatchShard,
    as_json: bool,
    quiet: bool,
    **conversion: Any,
) -> None:
    """Convert the weights file SOURCE to the format that the suffix of TARGET names.

    The suffixes are .pth .pt .safetensors .weights.h5 .keras .msgpack .npz .orbax .hf. TARGET is written to a
    temporary file, read back, compared bit for bit, and then renamed. A batch writes results.jsonl; its exit status is
    the largest one among its files.
    """
    output = Output(as_json, quiet)
    options = Options(suffix=suffix, **conversion)
    if batch:
        if shard_bytes:
            raise click.UsageError("--max-shard-size cannot be used with --batch")
        context.exit(convert_batch(source, target, options, output, jobs=jobs, resume=resume, shard=shard))
    default = click.core.ParameterSource.DEFAULT
    if any(context.get_parameter_source(name) is not default for name in BATCH_OPTIONS):
        raise click.UsageError("--to, --jobs, --resume and --shard need --batch")
    if source.is_dir() and not target.suffix:
        raise click.UsageError(f"{target} names no format: to convert all files in {source} to a folder, add --batch")
    _convert_one(source, target, options, shard_bytes, output)


def _convert_one(source: Path, target: Path, options: Options, shard_bytes: int | None, output: Output) -> None:
    began = time.perf_counter()
    with output.spinner(f"converting {source.name} to {target.name}"):
        checkpoint = se_weights.convert(
            source,
            target,
            dialect=options.dialect,
            source_dialect=options.source_dialect,
            architecture=options.architecture,
            prefix=options.prefix,
            changes=options.changes,
            shard_bytes=shard_bytes,
            manifest=options.manifest,
            force=options.force,
        )
    seconds = time.perf_counter() - began
    metadata = checkpoint.metadata
    left_out, wrappers, objects = (metadata.get(key, "").split() for key in ("left", "unwrapped", "objects"))
    casts = [str(cast) for cast in recorded_casts(checkpoint)] if options.dtype else []
    notes = se_weights.notes(checkpoint)
    result = {
        "source": str(source),
        "target": str(target),
        "source_dialect": checkpoint.dialect,
        "architecture": checkpoint.architecture.to_dict(),
        "create_model": se_spec.create_model_call(checkpoint.architecture),
        "tensors": len(checkpoint.weights),
        "bytes": size_in_bytes(target),
        "weights_sha256": checkpoint.weights_sha256,
        "unwrapped": wrappers,
        "left": left_out,
        "objects": objects,
        "reordered": metadata.get("reordered", ""),
        CAST: casts,
        "notes": notes,
        "manifest": str(record_path(target)) if options.manifest else None,
        "seconds": seconds,
    }
    read = f"{source}: {checkpoint.architecture.name} in the dialect {checkpoint.dialect}"
    read += f" (found under {', '.join(wrappers)})" if wrappers else ""
    read += f"; left out: {', '.join(left_out)}" if left_out else ""
    read += f"; objects not read: {', '.join(objects)}" if objects else ""
    written = f"{target}: {result['tensors']} tensors, {result['bytes']:,} bytes, read back and equal"
    written += f", {result['reordered']}" if result["reordered"] else ""
    written += f", {seconds:.2f} s"
    model = f"created by se_torch, se_tf or se_flax.{result['create_model']}"
    output.show_result(result, read, *(f"note: {note}" for note in notes), *casts, written, model)
