"""`se-resnet compare`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

import se_weights
from se_cli.options import WEIGHTS, architecture_option, dialect_option, output_options, prefix_option
from se_cli.output import Output
from se_cli.statuses import FAILED
from se_spec import Architecture, config_differences
from se_weights import Checkpoint, ConversionRecord
from se_weights.provenance.conversion_record import SUFFIX, Fingerprint


@dataclass(frozen=True)
class WeightsSummary:
    """What is compared of a weights file or of a conversion record.

    Attributes:
        architecture: The architecture that the weights belong to.
        weights_sha256: Hash of all tensors, the same in every format and dialect.
        tensors: Type, shape and hash of each tensor by canonical name.
        values: The tensors themselves; empty for a conversion record, which has no values.
    """

    architecture: Architecture
    weights_sha256: str
    tensors: Mapping[str, Fingerprint]
    values: Mapping[str, NDArray]

    @classmethod
    def from_path(
        cls,
        path: Path,
        dialect: str | None = None,
        architecture: str | None = None,
        prefix: str | None = None,
    ) -> "WeightsSummary":
        """Reads a conversion record where the name ends in `.manifest.json`, and a weights file otherwise.

        Args:
            path: A weights file or a conversion record.
            dialect: The dialect of a weights file; recognised from its tensors if not given.
            architecture: The name of its architecture; inferred from its tensors if not given.
            prefix: The prefix of the network, where the file contains several.
        """
        if path.name.endswith(SUFFIX):
            return cls.from_record(se_weights.read_conversion_record(path))
        checkpoint, _ = se_weights.read_disambiguated(
            path, dialect=dialect, architecture=architecture, prefix=prefix, hashed=True
        )
        return cls.from_checkpoint(checkpoint)

    @classmethod
    def from_record(cls, record: ConversionRecord) -> "WeightsSummary":
        return cls(record.architecture, record.weights_sha256, record.tensors, {})

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> "WeightsSummary":
        return cls(
            checkpoint.architecture,
            checkpoint.weights_sha256,
            se_weights.fingerprints(checkpoint),
            checkpoint.weights,
        )


@click.command("compare")
@click.argument("first", type=WEIGHTS)
@click.argument("second", type=WEIGHTS)
@dialect_option
@architecture_option
@prefix_option
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    default=0.0,
    help="Largest difference of two values that counts as equal; bit for bit by default.",
)
@output_options
@click.pass_context
def command(
    context: click.Context,
    first: Path,
    second: Path,
    dialect: str | None,
    architecture: str | None,
    prefix: str | None,
    tolerance: float,
    as_json: bool,
    quiet: bool,
) -> None:
    """Compare the weights of FIRST and SECOND, which may have any format and dialect, bit for bit.

    Either may be a conversion record (.manifest.json) instead of a weights file. The differences are listed: - only in
    FIRST, + only in SECOND, ! different shape, type or config, ~ different values. The exit status is 1 if there are
    any. A prefix is that of the network in each file that has tensors under it.
    """
    first_summary, second_summary = _read_both((first, second), dialect, architecture, prefix)
    differences = list_differences(first_summary, second_summary, tolerance)
    sha256 = first_summary.weights_sha256
    result = {
        "same": not differences,
        "differences": differences,
        "weights_sha256": [sha256, second_summary.weights_sha256],
    }
    subject = f"{len(first_summary.tensors)} tensors of {first_summary.architecture.name}"
    within = sum(second_summary.tensors.get(name) != tensor for name, tensor in first_summary.tensors.items())
    if differences:
        verdict = f"{len(differences)} differences in {subject}"
    elif within:
        verdict = f"equal within {tolerance:g}: {subject}, of which {within} differ"
    else:
        verdict = f"same weights: {subject}, sha256 {sha256}"
    Output(as_json, quiet).show_result(result, *differences, verdict)
    if differences:
        context.exit(FAILED)


def _read_both(
    paths: tuple[Path, Path], dialect: str | None, architecture: str | None, prefix: str | None
) -> list[WeightsSummary]:
    summaries: list[WeightsSummary] = []
    missing: list[se_weights.MissingPrefix] = []
    for path in paths:
        try:
            summaries.append(WeightsSummary.from_path(path, dialect, architecture, prefix))
        except se_weights.MissingPrefix as error:
            missing.append(error)
            summaries.append(WeightsSummary.from_path(path, dialect, architecture))
    if len(missing) == len(paths):
        raise missing[0]
    return summaries


def list_differences(first: WeightsSummary, second: WeightsSummary, tolerance: float = 0.0) -> list[str]:
    """List every difference between two sets of weights.

    Args:
        first: The weights whose extra tensors are listed with `-`.
        second: The weights whose extra tensors are listed with `+`.
        tolerance: The largest difference of two values that is not listed.

    Returns:
        One line for each tensor and each config field that differs, `-`, `+`, `!` or `~` first.
    """
    only_first = [f"- {name} {tensor.shape}" for name, tensor in first.tensors.items() if name not in second.tensors]
    only_second = [f"+ {name} {tensor.shape}" for name, tensor in second.tensors.items() if name not in first.tensors]
    in_both = [name for name in first.tensors if name in second.tensors]
    tensor_lines = [line for name in in_both for line in _tensor_difference(name, first, second, tolerance)]
    return only_first + only_second + tensor_lines + _config_difference_lines(first, second)


def _tensor_difference(name: str, first: WeightsSummary, second: WeightsSummary, tolerance: float) -> list[str]:
    a, b = first.tensors[name], second.tensors[name]
    if a == b:
        return []
    if a.shape != b.shape or (a.dtype != b.dtype and not tolerance):
        return [f"! {name} {a.dtype}{a.shape} against {b.dtype}{b.shape}"]
    if not (first.values and second.values):
        return [f"~ {name} values differ"]
    one, other = first.values[name].astype(np.float64), second.values[name].astype(np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.abs(one - other)
    same = _same_bits(first.values[name], second.values[name]) | (difference <= tolerance if tolerance else False)
    if same.all():
        return []
    largest = float(np.max(difference, initial=0.0, where=~np.isnan(difference)))
    return [f"~ {name} {int((~same).sum())} of {same.size} values differ, by up to {largest:.3g}"]


def _same_bits(a: NDArray, b: NDArray) -> NDArray:
    if a.dtype != b.dtype:
        return np.zeros(a.shape, bool)
    one, other = (np.ascontiguousarray(array).view(f"u{array.itemsize}") for array in (a, b))
    return one == other


def _config_difference_lines(first: WeightsSummary, second: WeightsSummary) -> list[str]:
    """Config fields that change the logits but not the shapes."""
    if first.architecture.function_key() == second.architecture.function_key():
        return []
    differing = config_differences(first.architecture, second.architecture).items()
    return [f"! {field} {a} against {b}" for field, (a, b) in differing]
