"""One file to another, whatever their formats and dialects."""

from collections.abc import Callable, Iterable
from os import PathLike
from pathlib import Path

from se_spec import Architecture
from se_weights.checkpoint import Checkpoint
from se_weights.errors import TargetExists
from se_weights.files import format_of
from se_weights.files.formats import SAFETENSORS, SHARDS
from se_weights.provenance.conversion_record import record_path, write_conversion_record
from se_weights.reading.read import find_dialect, read, read_disambiguated
from se_weights.writing.write import dialect_to_write, write


def convert(
    source: str | PathLike[str],
    target: str | PathLike[str],
    *,
    dialect: str | None = None,
    source_dialect: str | None = None,
    architecture: Architecture | str | None = None,
    changes: Iterable[Callable[[Checkpoint], Checkpoint]] = (),
    shard_bytes: int | None = None,
    manifest: bool = False,
    force: bool = False,
) -> Checkpoint:
    """Read one file and write another; the checkpoint that was written is returned.

    `dialect` is the one to write. It says how to read the source instead where it cannot be meant for the target, whose
    format has dialects of its own, and where the source fits several dialects and this is one of them;
    `source_dialect` leaves no doubt. `changes`, such as `rgb_input`, `standard_classes` and `cast_to("float16")`, are
    made in between. `manifest` writes one beside the target (se_weights.provenance.conversion_record).
    """
    source, target = Path(source), Path(target)
    _expect_apart(source, target)
    file_format = format_of(target)
    if dialect and not source_dialect and find_dialect(dialect).family not in file_format.families:
        dialect, source_dialect = None, dialect
    if manifest and record_path(target).exists() and not force:
        raise TargetExists(
            f"{record_path(target)} is already there: remove it, or overwrite it with --force (force=True)"
        )
    if source_dialect:
        checkpoint = read(source, dialect=source_dialect, architecture=architecture, hashed=True)
    else:
        checkpoint, settled = read_disambiguated(source, dialect=dialect, architecture=architecture, hashed=True)
        dialect = None if settled else dialect
    for change in changes:
        checkpoint = change(checkpoint)
    write(checkpoint, target, dialect=dialect, force=force, shard_bytes=shard_bytes)
    if manifest:
        write_conversion_record(checkpoint, dialect_to_write(file_format, dialect, target).name, target, force=force)
    return checkpoint


def _expect_apart(source: Path, target: Path) -> None:
    if not source.exists() or not target.parent.exists():
        return
    one, other = source.resolve(), target.resolve()
    if one == other or (target.exists() and target.samefile(source)):
        raise TargetExists(f"{target} is the source itself: a conversion never writes in place")
    if other.is_relative_to(one) or one.is_relative_to(other):
        raise TargetExists(f"{target} and {source} lie one in the other: a conversion never writes into its source")
    shard = source.name.endswith(SHARDS.suffixes) and other.name.endswith(SAFETENSORS.suffixes)
    if shard and one.parent == other.parent and target.exists():
        raise TargetExists(f"{target} lies among the shards of the source: choose another folder")
