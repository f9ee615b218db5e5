"""`se-resnet compare`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

import se_weights
from se_cli.options import PATH, architecture_option, output_options, settling_option
from se_cli.output import Output
from se_cli.statuses import FAILED
from se_spec import Architecture, config_differences
from se_weights import Checkpoint
from se_weights.provenance.conversion_record import SUFFIX, Fingerprint


@dataclass(frozen=True)
class Side:
    """What is compared: a file, or what the manifest of one says of it; a manifest has no values."""

    architecture: Architecture
    weights_sha256: str
    tensors: Mapping[str, Fingerprint]
    values: Mapping[str, NDArray]

    @classmethod
    def of(cls, path: Path, dialect: str | None = None, architecture: str | None = None) -> "Side":
        if path.name.endswith(SUFFIX):
            manifest = se_weights.read_conversion_record(path)
            return cls(manifest.architecture, manifest.weights_sha256, manifest.tensors, {})
        checkpoint, _ = se_weights.read_disambiguated(path, dialect=dialect, architecture=architecture, hashed=True)
        return cls.of_checkpoint(checkpoint)

    @classmethod
    def of_checkpoint(cls, checkpoint: Checkpoint) -> "Side":
        return cls(
            checkpoint.architecture,
            checkpoint.weights_sha256,
            se_weights.fingerprints(checkpoint),
            checkpoint.weights,
        )


@click.command("compare")
@click.argument("first", type=PATH)
@click.argument("second", type=PATH)
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

    Either may be the manifest of a file (.manifest.json) in its place. Differences: - only in FIRST, + only in SECOND,
    ! another shape or type, ~ other values. Status 1 if there are any.
    """
    one, other = (Side.of(path, dialect, architecture) for path in (first, second))
    found = differences(one, other)
    facts = {"same": not found, "differences": found, "weights_sha256": [one.weights_sha256, other.weights_sha256]}
    verdict = f"same weights: {len(one.tensors)} tensors of {one.architecture.name}, sha256 {one.weights_sha256}"
    Output(as_json, quiet).result(facts, *(found or [verdict]))
    if found:
        context.exit(FAILED)


def differences(one: Side, other: Side) -> list[str]:
    """A line for each tensor, and each fact, in which two sides differ."""
    only_one = [f"- {name} {tensor.shape}" for name, tensor in one.tensors.items() if name not in other.tensors]
    only_other = [f"+ {name} {tensor.shape}" for name, tensor in other.tensors.items() if name not in one.tensors]
    both = [name for name in one.tensors if name in other.tensors]
    return (
        only_one + only_other + [line for name in both for line in _difference(name, one, other)] + _facts(one, other)
    )


def _difference(name: str, one: Side, other: Side) -> list[str]:
    mine, theirs = one.tensors[name], other.tensors[name]
    if mine == theirs:
        return []
    if (mine.dtype, mine.shape) != (theirs.dtype, theirs.shape):
        return [f"! {name} {mine.dtype}{mine.shape} against {theirs.dtype}{theirs.shape}"]
    if not (one.values and other.values):
        return [f"~ {name} values differ"]
    differ, distance = _distances(one.values[name], other.values[name])
    return [f"~ {name} {int(differ.sum())} of {differ.size} values differ, by up to {distance:.3g}"]


def _distances(mine: NDArray, theirs: NDArray) -> tuple[NDArray, float]:
    """Where the bits of two arrays differ, and by how much their values do at most; from NaN, or of two infinities, no
    distance can be told."""
    bits = [np.ascontiguousarray(array).view(f"u{array.itemsize}") for array in (mine, theirs)]
    with np.errstate(invalid="ignore"):
        distance = np.abs(mine.astype(np.float64) - theirs.astype(np.float64))
    return bits[0] != bits[1], float(np.max(distance, initial=0.0, where=~np.isnan(distance)))


def _facts(one: Side, other: Side) -> list[str]:
    """Facts that the shapes do not tell but the numbers depend on."""
    if one.architecture.function_key() == other.architecture.function_key():
        return []
    differing = config_differences(one.architecture, other.architecture).items()
    return [f"! {fact} {mine} against {theirs}" for fact, (mine, theirs) in differing]
