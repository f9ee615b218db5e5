"""`se-resnet identify`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from rich.table import Table

import se_spec
import se_weights
from se_cli.options import PATH, WEIGHTS, output_options
from se_cli.output import Output, table
from se_cli.statuses import FAILED
from se_parity.identify.identify import TOLERANCE, HypothesisResult, Identification, first_hypotheses, identify
from se_parity.identify.known_outputs import KnownOutputs, known_outputs
from se_weights import Checkpoint, MalformedFile, UnsupportedFormat
from se_weights.files import open_file
from se_weights.files.formats import NPZ

LARGEST_ROUNDING = 1e-2
"""Up to this error, rounding in half precision may explain a difference: bfloat16 logits differ by up to 6e-3
(docs/guide/parity.md), and a network of other settings that was read as this one by 3e-2 and more."""

MAX_ROWS = 12
"""How many hypotheses the table shows."""


@click.command("identify")
@click.argument("file", type=WEIGHTS)
@click.option(
    "--inputs",
    type=PATH,
    required=True,
    help="A .npz file with `images` (N, C, H, W or N, H, W, C) and the `logits` or `probabilities` (N, classes) or "
    "`labels` (N) that the original code computed for them.",
)
@click.option("--dialect", metavar="NAME", help="Try only this dialect.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0, min_open=True),
    default=TOLERANCE,
    show_default=True,
    help="Largest difference that counts as reproducing the logits, relative to their range.",
)
@click.option("--out", type=PATH, help="Write the weights to this file, with the settings that were found.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
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
    """Find the settings that FILE's tensors cannot show, from a few outputs of the original code.

    Every hypothesis that fits the tensors is run: which convolution has the stride, the pool's padding, the batch norm
    epsilon, a ReLU before the squeeze, anti-aliasing, dilation, the order of channels and classes, the preprocessing.
    The exit status is 1 if no hypothesis reproduces the outputs, or if they do not determine which of several is right.
    """
    output = Output(as_json, quiet)
    checkpoints = se_weights.read_candidates(file, dialect=dialect)
    images, outputs = _read_inputs(inputs, checkpoints[0])
    output.announce(_plan(checkpoints, images, outputs))
    with output.spinner("reading") as on_step:
        known = {outputs.kind: outputs.values}
        identification = identify(checkpoints, images, **known, tolerance=tolerance, on_step=on_step)
    identified = identification.identified
    result = {
        "file": str(file),
        "identified": _result_dict(identified) if identified else None,
        "reproducing": [_result_dict(result) for result in identification.matches],
        "untold": identification.undetermined,
        "next_error": identification.next_error,
        "limit": identification.limit,
        "from": identification.outputs,
        "findings": [_result_dict(result) for result in identification.results],
    }
    lines = _summary(identification)
    if out and identified:
        se_weights.write(identified.hypothesis.confirmed(), out, force=force)
        lines.append(f"{out}: written with these settings")
    output.show_result(result, *lines)
    if not identified:
        context.exit(FAILED)


def _read_inputs(path: Path, checkpoint: Checkpoint) -> tuple[NDArray, KnownOutputs]:
    """The images (N, C, H, W), and what the original code computed for them."""
    with open_file(path) as (file_format, contents, _):
        if file_format is not NPZ:
            raise UnsupportedFormat(f"{path} is {file_format.name}: images and outputs must be in a .npz file")
        arrays = {name: tensor.load() for name, tensor in contents.tensors.items()}
    images = arrays.get("images")
    architecture = checkpoint.architecture
    if images is None or images.ndim != 4 or architecture.in_channels not in (images.shape[1], images.shape[3]):
        shape, channels = "no images" if images is None else images.shape, architecture.in_channels
        raise MalformedFile(
            f"{path} must contain `images` (N, C, H, W) or (N, H, W, C) with C = {channels}: found {shape}"
        )
    if images.shape[1] != architecture.in_channels:
        images = np.moveaxis(images, 3, 1)
    by_class = len(images), architecture.num_classes or architecture.features
    shapes = {"logits": by_class, "probabilities": by_class, "labels": (len(images),)}
    outputs = {name: array for name, array in arrays.items() if name in shapes}
    for name, array in outputs.items():
        if array.shape != shapes[name]:
            raise MalformedFile(f"{path}: `{name}` must be {shapes[name]}: found {array.shape}")
    if not outputs:
        names = " or ".join(f"`{name}`" for name in shapes)
        raise MalformedFile(f"{path} must contain {names} besides `images`: found {', '.join(arrays)}")
    try:
        return images, known_outputs(**outputs)
    except ValueError as error:
        raise MalformedFile(f"{path}: {error}") from error


def _plan(checkpoints: Sequence[Checkpoint], images: NDArray, outputs: KnownOutputs) -> str:
    """What will be run, and what it costs."""
    count, architecture = len(first_hypotheses(checkpoints, images, outputs)), checkpoints[0].architecture
    multiply_adds = se_spec.multiply_adds(architecture, *images.shape[2:])
    on = f"{len(images)} images" if outputs.are_labels else "1 image"
    return (
        f"running {count} hypotheses on {on}, {multiply_adds / 1e9:.2f} G multiply-adds an image; then the nearest "
        f"with other epsilons, and on all {len(images)} images"
    )


def _result_dict(result: HypothesisResult) -> dict[str, object]:
    return {
        **result.hypothesis.to_dict(),
        "error": result.error,
        "architecture": result.hypothesis.architecture.to_dict(),
    }


def _summary(identification: Identification) -> list[str | Table]:
    """A table of the settings in which the nearest hypotheses differ, and those that they share in a line."""
    shown = identification.results[:MAX_ROWS]
    settings = [{field: str(value) for field, value in result.hypothesis.to_dict().items()} for result in shown]
    differing = [field for field in settings[0] if len({values[field] for values in settings}) > 1]
    shared = {field: value for field, value in settings[0].items() if field not in differing}
    rows = [
        (f"{result.error:.1e}", *(values[field] for field in differing))
        for result, values in zip(shown, settings, strict=True)
    ]
    measure = "wrong labels" if identification.outputs == "labels" else "error"
    findings = table(measure, *differing, rows=rows, right=(measure,))
    common = [f"in all of these: {_format_settings(shared)}"] if shared else []
    return [findings, *common, f"{len(identification.results)} hypotheses were run", _verdict(identification)]


def _verdict(identification: Identification) -> str:
    outputs, from_labels = identification.outputs, identification.outputs == "labels"
    nearest, identified = identification.results[0], identification.identified
    if not identification.matches:
        settings = _format_settings(nearest.hypothesis.to_dict())
        verdict = f"no hypothesis reproduces the {outputs}; the nearest has an error of {nearest.error:.1e}: {settings}"
        if from_labels or nearest.error > LARGEST_ROUNDING:
            return verdict
        tolerance = f"--tolerance {2 * nearest.error:.0e}"
        return f"{verdict}; if the original code ran in TF32, float16 or bfloat16, {tolerance} accepts it"
    undetermined = ", ".join(identification.undetermined)
    undetermined = f"; the {outputs} do not determine {undetermined}" if undetermined else ""
    if not identified:
        config = nearest.hypothesis.to_dict()
        different = {"dialect", *identification.undetermined}
        common = {field: value for field, value in config.items() if field not in different}
        count = len(identification.matches)
        return f"{count} hypotheses reproduce the {outputs}: {_format_settings(common)}{undetermined}"
    settings, next_error = _format_settings(identified.hypothesis.to_dict()), identification.next_error
    margin = f"; error {identified.error:.1e}, next best {next_error:.1e}" if next_error is not None else ""
    return f"reproduced by {settings}{margin}{undetermined}"


def _format_settings(settings: Mapping[str, object]) -> str:
    return ", ".join(f"{field}={value}" for field, value in settings.items())
