"""One file to another, whatever their formats and dialects."""

from collections.abc import Callable, Iterable
from os import PathLike
from pathlib import Path

from se_spec import Architecture
from se_weights.checkpoint import Checkpoint
from se_weights.errors import TargetExists
from se_weights.files import format_of
from se_weights.reading import known_dialect, read, read_settled
from se_weights.writing import write


def convert(
    source: str | PathLike[str],
    target: str | PathLike[str],
    *,
    dialect: str | None = None,
    source_dialect: str | None = None,
    architecture: Architecture | str | None = None,
    changes: Iterable[Callable[[Checkpoint], Checkpoint]] = (),
    force: bool = False,
) -> Checkpoint:
    """Read one file and write another; the checkpoint that was written is returned.

    `dialect` is the one to write. It says how to read the source instead where it cannot be meant for the target, whose
    format has dialects of its own, and where the source fits several dialects and this is one of them;
    `source_dialect` leaves no doubt. `changes`, such as `rgb_input` and `standard_classes`, are made in between.
    """
    source, target = Path(source), Path(target)
    if target.exists() and source.exists() and target.samefile(source):
        raise TargetExists(f"{target} is the source itself: a conversion never writes in place")
    if dialect and not source_dialect and known_dialect(dialect).family not in format_of(target).families:
        dialect, source_dialect = None, dialect
    if source_dialect:
        checkpoint = read(source, dialect=source_dialect, architecture=architecture)
    else:
        checkpoint, settled = read_settled(source, dialect=dialect, architecture=architecture)
        dialect = None if settled else dialect
    for change in changes:
        checkpoint = change(checkpoint)
    write(checkpoint, target, dialect=dialect, force=force)
    return checkpoint
