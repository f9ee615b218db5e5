"""`se-resnet verify`."""

from pathlib import Path

import click

import se_weights
from se_cli.commands.compare import WeightsSummary, list_differences
from se_cli.options import PATH, WEIGHTS, output_options
from se_cli.output import Output
from se_cli.statuses import FAILED
from se_weights.provenance.conversion_record import SUFFIX, record_path


@click.command("verify")
@click.argument("file", type=WEIGHTS)
@click.option(
    "--manifest",
    type=PATH,
    help=f"The conversion record to check against.  [default: FILE{SUFFIX}]",
)
@output_options
@click.pass_context
def command(context: click.Context, file: Path, manifest: Path | None, as_json: bool, quiet: bool) -> None:
    """Check that FILE has not changed since it was written.

    FILE is compared with its conversion record, or with the hash in its own metadata where there is no record. The
    exit status is 1 if it has changed; the differences are listed as `se-resnet compare` lists them.
    """
    record = manifest or record_path(file)
    if manifest or record.exists():
        differences = _compare_with_record(file, record)
        reference, verdict = record, f"{file}: verified against {record}"
    else:
        differences = _compare_with_own_hash(file)
        reference, verdict = file, f"{file}: verified against the hash in its own metadata"
    result = {"file": str(file), "against": str(reference), "same": not differences, "differences": differences}
    Output(as_json, quiet).show_result(result, *(differences or [verdict]))
    if differences:
        context.exit(FAILED)


def _compare_with_record(file: Path, path: Path) -> list[str]:
    record = se_weights.read_conversion_record(path)
    sha256 = se_weights.file_sha256(file)
    changed = [] if sha256 == record.file_sha256 else [f"! the file: sha256 {record.file_sha256} against {sha256}"]
    checkpoint = se_weights.read(file, architecture=record.architecture, hashed=True)
    recorded, current = WeightsSummary.from_record(record), WeightsSummary.from_checkpoint(checkpoint)
    return changed + list_differences(recorded, current)


def _compare_with_own_hash(file: Path) -> list[str]:
    checkpoint = se_weights.read(file, hashed=True)
    recorded = checkpoint.metadata.get("weights_sha256")
    if not recorded:
        raise click.UsageError(
            f"{file} cannot be verified: there is no conversion record {record_path(file).name} next to it and no hash "
            "in its metadata. Name a conversion record with --manifest"
        )
    if checkpoint.weights_sha256 == recorded:
        return []
    return [f"~ the weights: sha256 {recorded} against {checkpoint.weights_sha256}"]
