"""`se-resnet compare`."""

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

import se_weights
from se_cli.options import architecture_option, output_options, settling_option
from se_cli.output import Output
from se_cli.statuses import FAILED
from se_spec import facts_that_differ
from se_weights import Checkpoint


@click.command("compare")
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@settling_option
@architecture_option
@output_options
@click.pass_context
def command(
    context: click.Context,
    first: Path,
    second: Path,
    dialect: str | None,
    architecture: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Whether FIRST and SECOND hold the same weights, bit for bit, whatever their formats and dialects.

    Differences: - only in FIRST, + only in SECOND, ! another shape or type, ~ other values. Status 1 if there are any.
    """
    one, other = (
        se_weights.read_settled(file, dialect=dialect, architecture=architecture)[0] for file in (first, second)
    )
    differences = _differences(one, other)
    hashes = [se_weights.weights_sha256(checkpoint.weights) for checkpoint in (one, other)]
    facts = {"same": not differences, "differences": differences, "weights_sha256": hashes}
    verdict = f"same weights: {len(one.weights)} tensors of {one.architecture.name}, sha256 {hashes[0]}"
    Output(as_json, quiet).result(facts, *(differences or [verdict]))
    if differences:
        context.exit(FAILED)


def _differences(one: Checkpoint, other: Checkpoint) -> list[str]:
    only_one = [f"- {name} {array.shape}" for name, array in one.weights.items() if name not in other.weights]
    only_other = [f"+ {name} {array.shape}" for name, array in other.weights.items() if name not in one.weights]
    both = [name for name in one.weights if name in other.weights]
    values = [line for name in both if (line := _difference(name, one.weights[name], other.weights[name]))]
    return only_one + only_other + values + _different_facts(one, other)


def _difference(name: str, one: NDArray, other: NDArray) -> str | None:
    if one.shape != other.shape or one.dtype != other.dtype:
        return f"! {name} {one.dtype}{one.shape} against {other.dtype}{other.shape}"
    if one.tobytes() == other.tobytes():
        return None
    distance = np.abs(one.astype(np.float64) - other.astype(np.float64))
    return f"~ {name} {int((distance != 0).sum())} of {distance.size} values differ, by up to {np.nanmax(distance):.3g}"


def _different_facts(one: Checkpoint, other: Checkpoint) -> list[str]:
    """Facts that the shapes do not tell but the numbers depend on."""
    if one.architecture.computes() == other.architecture.computes():
        return []
    differing = facts_that_differ(one.architecture, other.architecture).items()
    return [f"! {fact} {mine} against {theirs}" for fact, (mine, theirs) in differing]
