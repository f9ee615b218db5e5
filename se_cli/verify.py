"""`se-resnet verify`."""

from pathlib import Path

import click

import se_weights
from se_cli.compare import Side, differences
from se_cli.options import PATH, output_options
from se_cli.output import Output
from se_cli.statuses import FAILED
from se_weights.provenance.conversion_record import SUFFIX, record_path


@click.command("verify")
@click.argument("file", type=PATH)
@click.option(
    "--manifest",
    type=PATH,
    help=f"The manifest to hold it to, where that is not FILE{SUFFIX}.",
)
@output_options
@click.pass_context
def command(context: click.Context, file: Path, manifest: Path | None, as_json: bool, quiet: bool) -> None:
    """Whether FILE is what was written: held to its manifest, or to the hash in its own metadata where it has none.

    Status 1 if it is not: ! the file was changed, and what differs in it as `se-resnet compare` shows it.
    """
    held_to = manifest or record_path(file)
    if manifest or held_to.exists():
        found = _against_manifest(file, held_to)
    else:
        held_to = file
        found = _against_itself(file)
    verdict = f"{file}: verified against {'its own metadata' if held_to == file else held_to}"
    facts = {"file": str(file), "against": str(held_to), "same": not found, "differences": found}
    Output(as_json, quiet).result(facts, *(found or [verdict]))
    if found:
        context.exit(FAILED)


def _against_manifest(file: Path, path: Path) -> list[str]:
    manifest = se_weights.read_conversion_record(path)
    sha256 = se_weights.file_sha256(file)
    changed = [] if sha256 == manifest.file_sha256 else [f"! the file: sha256 {manifest.file_sha256} against {sha256}"]
    checkpoint = se_weights.read(file, architecture=manifest.architecture, hashed=True)
    recorded = Side(manifest.architecture, manifest.weights_sha256, manifest.tensors, {})
    return changed + differences(recorded, Side.of_checkpoint(checkpoint))


def _against_itself(file: Path) -> list[str]:
    checkpoint = se_weights.read(file, hashed=True)
    recorded = checkpoint.metadata.get("weights_sha256")
    if not recorded:
        raise click.UsageError(f"{file} has no manifest beside it, and no hash in it: give one with --manifest")
    if checkpoint.weights_sha256 == recorded:
        return []
    return [f"~ the weights: sha256 {recorded} against {checkpoint.weights_sha256}"]
