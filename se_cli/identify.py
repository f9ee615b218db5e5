"""`se-resnet identify`."""

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from rich.table import Table

import se_weights
from se_cli.options import PATH, output_options
from se_cli.output import Output, table
from se_cli.statuses import FAILED
from se_parity.identify.hypotheses import HYPOTHESIS_FIELDS
from se_parity.identify.identify import TOLERANCE, HypothesisResult, Identification, identify
from se_weights import Checkpoint, MalformedFile, UnsupportedFormat
from se_weights.files import open_file
from se_weights.files.formats import NPZ

MAX_ROWS = 12


@click.command("identify")
@click.argument("file", type=PATH)
@click.option(
    "--inputs",
    type=PATH,
    required=True,
    help="An .npz with `images` (N, C, H, W or N, H, W, C) and the `logits` (N, classes) or `labels` (N) that the "
    "original code gave for them.",
)
@click.option("--dialect", metavar="NAME", help="Read the file as this dialect only.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0, min_open=True),
    default=TOLERANCE,
    show_default=True,
    help="The largest difference of matching logits, as a share of their range.",
)
@click.option("--out", type=PATH, help="Write the weights with the identified config to this file.")
@click.option("--force", is_flag=True, help="Overwrite a target that is already there.")
@output_options
@click.pass_context
def command(
    context: click.Context,
    file: Path,
    inputs: Path,
    dialect: str | None,
    tolerance: float,
    out: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Find the config that FILE's tensors cannot show, from a few outputs of the original code.

    Runs every hypothesis that fits the tensors: which layer strides, how the max-pool is aligned, the epsilon, a ReLU
    before the squeeze, the order of channels and classes, the preprocessing. Status 1 if no hypothesis reproduces the
    outputs, or if several do.
    """
    output = Output(as_json, quiet)
    checkpoints = se_weights.read_candidates(file, dialect=dialect)
    images, logits, labels = _read_inputs(inputs, checkpoints[0])
    with output.working("reading") as on_step:
        identification = identify(
            checkpoints, images, logits=logits, labels=labels, tolerance=tolerance, on_step=on_step
        )
    identified = identification.identified
    record = {
        "file": str(file),
        "identified": _to_dict(identified) if identified else None,
        "reproducing": [_to_dict(result) for result in identification.matches],
        "untold": identification.undetermined,
        "next_error": identification.next_error,
        "limit": identification.limit,
        "from": "labels" if identification.from_labels else "logits",
        "findings": [_to_dict(result) for result in identification.results],
    }
    lines = _lines(identification)
    if out and identified:
        se_weights.write(identified.hypothesis.confirmed(), out, force=force)
        lines.append(f"{out}: written with this config")
    output.result(record, *lines)
    if not identified:
        context.exit(FAILED)


def _read_inputs(path: Path, checkpoint: Checkpoint) -> tuple[NDArray, NDArray | None, NDArray | None]:
    """The images (N, C, H, W), and the logits or the labels."""
    with open_file(path) as (file_format, stored, _):
        if file_format is not NPZ:
            raise UnsupportedFormat(f"{path} is {file_format.name}: the images and outputs must be in a .npz file")
        arrays = {name: tensor.load() for name, tensor in stored.tensors.items()}
    images, logits, labels = (arrays.get(name) for name in ("images", "logits", "labels"))
    architecture = checkpoint.architecture
    if images is None or images.ndim != 4 or architecture.in_channels not in (images.shape[1], images.shape[3]):
        shape = "none" if images is None else images.shape
        raise MalformedFile(
            f"{path} must have `images` (N, C, H, W) or (N, H, W, C) with C = {architecture.in_channels}: found {shape}"
        )
    if images.shape[1] != architecture.in_channels:
        images = np.moveaxis(images, 3, 1)
    classes = architecture.num_classes or architecture.features
    if logits is not None and logits.shape != (len(images), classes):
        raise MalformedFile(f"{path}: `logits` must be ({len(images)}, {classes}): found {logits.shape}")
    if labels is not None and labels.shape != (len(images),):
        raise MalformedFile(f"{path}: `labels` must be ({len(images)},): found {labels.shape}")
    if logits is None and labels is None:
        raise MalformedFile(f"{path} must have `logits` or `labels` next to `images`: found {', '.join(arrays)}")
    return images, logits, labels


def _to_dict(result: HypothesisResult) -> dict[str, object]:
    return {
        **result.hypothesis.to_dict(),
        "error": result.error,
        "architecture": result.hypothesis.architecture.to_dict(),
    }


def _lines(identification: Identification) -> list[str | Table]:
    shown = identification.results[:MAX_ROWS]
    columns = list(shown[0].hypothesis.to_dict())
    rows = [
        (f"{result.error:.1e}", *(str(value) for value in result.hypothesis.to_dict().values())) for result in shown
    ]
    measure = "wrong labels" if identification.from_labels else "of range"
    results_table = table(measure, *columns, rows=rows, right=(measure,))
    return [results_table, f"{len(identification.results)} hypotheses were run", _verdict(identification)]


def _verdict(identification: Identification) -> str:
    outputs = "labels" if identification.from_labels else "logits"
    nearest, identified = identification.results[0], identification.identified
    if not identification.matches:
        return (
            f"no hypothesis reproduces the {outputs}; the nearest differs by {nearest.error:.1e}: {_describe(nearest)}"
        )
    fields = ", ".join(identification.undetermined)
    undetermined = f"; the {outputs} do not determine {fields}" if fields else ""
    if not identified:
        values = nearest.hypothesis.to_dict()
        agreed = ", ".join(
            f"{field}={values[field]}" for field in HYPOTHESIS_FIELDS if field not in identification.undetermined
        )
        return f"{len(identification.matches)} hypotheses reproduce the {outputs}: {agreed}{undetermined}"
    error, next_error = identified.error, identification.next_error
    margin = f"; it differs by {error:.1e}, the next by {next_error:.1e}" if next_error is not None else ""
    return f"reproduced by {_describe(identified)}{margin}{undetermined}"


def _describe(result: HypothesisResult) -> str:
    return ", ".join(f"{field}={value}" for field, value in result.hypothesis.to_dict().items())
