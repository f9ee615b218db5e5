"""`se-resnet convert`."""

import re
import time
from pathlib import Path
from typing import Any

import click

import se_weights
from se_cli.convert_batch import BatchShardType, convert_batch
from se_cli.options import PATH, architecture_option, output_options
from se_cli.output import Output, size_of
from se_weights.batch import BatchShard, Options
from se_weights.provenance.conversion_record import record_path
from se_weights.transforms.cast import CAST, DTYPES, recorded_casts

UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}


class Size(click.ParamType):
    """A number of bytes, such as 50MB."""

    name = "size"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> int:
        found = re.fullmatch(r"([1-9]\d{0,11})(KB|MB|GB|)", str(value).upper())
        return (
            int(found[1]) * UNITS[found[2]] if found else self.fail(f"{value!r} is not like 50MB", parameter, context)
        )


@click.command("convert")
@click.argument("source", type=PATH)
@click.argument("target", type=PATH)
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
@click.option("--fold-batchnorm", is_flag=True, help="Fold the batch norms into their convolutions, for inference.")
@click.option("--dtype", type=click.Choice(list(DTYPES)), help="Round the weights to this type, and say what was lost.")
@architecture_option
@click.option("--max-shard-size", "shard_bytes", type=Size(), help="What each file of a .hf folder may hold, as 50MB.")
@click.option("--manifest", is_flag=True, help="Write TARGET.manifest.json: hashes, facts, changes.")
@click.option("--force", is_flag=True, help="Overwrite a target that is already there.")
@click.option("--batch", is_flag=True, help="SOURCE is a folder or a list of files, TARGET the folder for theirs.")
@click.option("--to", "suffix", default=".safetensors", show_default=True, help="Batch: the suffix of the targets.")
@click.option("--jobs", type=click.IntRange(1), help="Batch: files at a time; one for each processor if not given.")
@click.option("--resume", is_flag=True, help="Batch: go on with one that was interrupted; what is done is skipped.")
@click.option(
    "--shard", "share", type=BatchShardType(), default="1/1", help="Batch: the i-th of n parts, by the files' names."
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
    share: BatchShard,
    as_json: bool,
    quiet: bool,
    **asked: Any,
) -> None:
    """Convert SOURCE to TARGET. Formats by suffix: .pth .pt .safetensors .weights.h5 .keras .msgpack .npz .orbax .hf

    The target is read back and compared bit for bit before it takes its name. Batches write results.jsonl; their
    status is the largest of their files'.
    """
    output = Output(as_json, quiet)
    options = Options(suffix=suffix, **asked)
    if batch:
        if shard_bytes:
            raise click.UsageError("--max-shard-size is for one file, not for a batch")
        context.exit(convert_batch(source, target, options, output, jobs=jobs, resume=resume, share=share))
    given = [
        name
        for name in ("suffix", "jobs", "resume", "share")
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
    ]
    if given:
        raise click.UsageError("--to, --jobs, --resume and --shard are for a batch: add --batch")
    _convert_one(source, target, options, shard_bytes, output)


def _convert_one(source: Path, target: Path, options: Options, shard_bytes: int | None, output: Output) -> None:
    began = time.perf_counter()
    with output.working(f"converting {source.name} to {target.name}"):
        checkpoint = se_weights.convert(
            source,
            target,
            dialect=options.dialect,
            source_dialect=options.source_dialect,
            architecture=options.architecture,
            changes=options.changes,
            shard_bytes=shard_bytes,
            manifest=options.manifest,
            force=options.force,
        )
    seconds = time.perf_counter() - began
    told = checkpoint.metadata
    beside_it, wrappers = told.get("left", "").split(), told.get("unwrapped", "").split()
    losses = recorded_casts(checkpoint) if options.dtype else []
    noted = se_weights.notes(checkpoint)
    facts = {
        "source": str(source),
        "target": str(target),
        "source_dialect": checkpoint.dialect,
        "architecture": checkpoint.architecture.to_dict(),
        "tensors": len(checkpoint.weights),
        "bytes": size_of(target),
        "weights_sha256": checkpoint.weights_sha256,
        "unwrapped": wrappers,
        "left": beside_it,
        "reordered": told.get("reordered", ""),
        CAST: [str(loss) for loss in losses],
        "notes": noted,
        "manifest": str(record_path(target)) if options.manifest else None,
        "seconds": seconds,
    }
    unwrapped = f" (found under {', '.join(wrappers)})" if wrappers else ""
    left = f"; left: {', '.join(beside_it)}" if beside_it else ""
    reordered = f", {facts['reordered']}" if facts["reordered"] else ""
    written = f"{facts['tensors']} tensors, {facts['bytes']:,} bytes, read back and equal{reordered}, {seconds:.2f} s"
    output.result(
        facts,
        f"{source}: {checkpoint.architecture.name} in the dialect {checkpoint.dialect}{unwrapped}{left}",
        *(f"note: {note}" for note in noted),
        *map(str, losses),
        f"{target}: {written}",
    )
