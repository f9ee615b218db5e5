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
from se_parity.identify.hypotheses import FACTS
from se_parity.identify.identify import TOLERANCE, Finding, Identification, identify
from se_weights import Checkpoint, MalformedFile, UnsupportedFormat
from se_weights.files import open_file
from se_weights.files.formats import NPZ

SHOWN = 12


@click.command("identify")
@click.argument("file", type=PATH)
@click.option(
    "--inputs",
    type=PATH,
    required=True,
    help="An .npz with `images` (N, C, H, W or N, H, W, C) and the `logits` (N, classes) or `labels` (N) that the "
    "original code gave for them.",
)
@click.option("--dialect", metavar="NAME", help="Try the readings of this dialect only.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0, min_open=True),
    default=TOLERANCE,
    show_default=True,
    help="How far from the logits still reproduces them, as a share of their range.",
)
@click.option("--out", type=PATH, help="Write the weights here with the facts that were found.")
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
    """What FILE's tensors do not tell, found from a few of the original code's outputs.

    Runs every hypothesis that fits the tensors: where the network strides, how its pool is aligned, its epsilon, a
    ReLU before the squeeze, the order of channels and classes, the preprocessing. Status 1 if none reproduces the
    outputs, or if they do not tell which of several does.
    """
    output = Output(as_json, quiet)
    checkpoints = se_weights.read_candidates(file, dialect=dialect)
    images, logits, labels = _read_inputs(inputs, checkpoints[0])
    with output.working("reading") as on_step:
        identification = identify(
            checkpoints, images, logits=logits, labels=labels, tolerance=tolerance, on_step=on_step
        )
    identified = identification.identified
    facts = {
        "file": str(file),
        "identified": _facts(identified) if identified else None,
        "reproducing": [_facts(finding) for finding in identification.reproducing],
        "untold": identification.untold,
        "next_error": identification.next_error,
        "limit": identification.limit,
        "from": "labels" if identification.from_labels else "logits",
        "findings": [_facts(finding) for finding in identification.findings],
    }
    lines = _lines(identification)
    if out and identified:
        se_weights.write(identified.hypothesis.confirmed(), out, force=force)
        lines.append(f"{out}: written with these facts")
    output.result(facts, *lines)
    if not identified:
        context.exit(FAILED)


def _read_inputs(path: Path, checkpoint: Checkpoint) -> tuple[NDArray, NDArray | None, NDArray | None]:
    """The images (N, C, H, W), and the logits or the labels."""
    with open_file(path) as (file_format, stored, _):
        if file_format is not NPZ:
            raise UnsupportedFormat(f"{path} is {file_format.name}: the images and outputs must be in a .npz file")
        arrays = {name: tensor.load() for name, tensor in stored.tensors.items()}
    images, logits, labels = (arrays.get(name) for name in ("images", "logits", "labels"))
    known = checkpoint.architecture
    if images is None or images.ndim != 4 or known.in_channels not in (images.shape[1], images.shape[3]):
        shape = "none" if images is None else images.shape
        raise MalformedFile(
            f"{path} must hold `images` (N, C, H, W) or (N, H, W, C) with C = {known.in_channels}: found {shape}"
        )
    if images.shape[1] != known.in_channels:
        images = np.moveaxis(images, 3, 1)
    classes = known.num_classes or known.features
    if logits is not None and logits.shape != (len(images), classes):
        raise MalformedFile(f"{path}: `logits` must be ({len(images)}, {classes}): found {logits.shape}")
    if labels is not None and labels.shape != (len(images),):
        raise MalformedFile(f"{path}: `labels` must be ({len(images)},): found {labels.shape}")
    if logits is None and labels is None:
        raise MalformedFile(f"{path} must hold `logits` or `labels` beside `images`: found {', '.join(arrays)}")
    return images, logits, labels


def _facts(finding: Finding) -> dict[str, object]:
    return {
        **finding.hypothesis.to_dict(),
        "error": finding.error,
        "architecture": finding.hypothesis.architecture.to_dict(),
    }


def _lines(identification: Identification) -> list[str | Table]:
    shown = identification.findings[:SHOWN]
    columns = list(shown[0].hypothesis.to_dict())
    rows = [
        (f"{finding.error:.1e}", *(str(value) for value in finding.hypothesis.to_dict().values())) for finding in shown
    ]
    measure = "labels off" if identification.from_labels else "of range"
    drawn = table(measure, *columns, rows=rows, right=(measure,))
    return [drawn, f"{len(identification.findings)} hypotheses were run", _verdict(identification)]


def _verdict(identification: Identification) -> str:
    outputs = "labels" if identification.from_labels else "logits"
    nearest, identified = identification.findings[0], identification.identified
    if not identification.reproducing:
        return f"none reproduces the {outputs}; nearest, {nearest.error:.1e} off: {_said(nearest)}"
    untold = f"; the {outputs} do not tell {', '.join(identification.untold)}" if identification.untold else ""
    if not identified:
        agreed = {fact: nearest.hypothesis.to_dict()[fact] for fact in FACTS if fact not in identification.untold}
        told = ", ".join(f"{fact}={value}" for fact, value in agreed.items())
        return f"{len(identification.reproducing)} hypotheses reproduce the {outputs}: {told}{untold}"
    further = identification.next_error
    margin = f"; the next is {further:.1e} off, this {identified.error:.1e}" if further is not None else ""
    return f"reproduced by {_said(identified)}{margin}{untold}"


def _said(finding: Finding) -> str:
    return ", ".join(f"{fact}={value}" for fact, value in finding.hypothesis.to_dict().items())
