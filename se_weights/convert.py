"""Converts a file of weights to another format and dialect."""

from collections.abc import Callable, Iterable
from os import PathLike
from pathlib import Path

from se_spec import Architecture
from se_weights.checkpoint import Checkpoint
from se_weights.errors import TargetExists
from se_weights.files import format_of
from se_weights.files.formats import SAFETENSORS, SHARDED_SAFETENSORS
from se_weights.provenance.conversion_record import record_path, write_conversion_record
from se_weights.reading.read import read, read_disambiguated
from se_weights.reading.recognition import find_dialect
from se_weights.writing.write import dialect_to_write, write


def convert(
    source: str | PathLike[str],
    target: str | PathLike[str],
    *,
    dialect: str | None = None,
    source_dialect: str | None = None,
    architecture: Architecture | str | None = None,
    prefix: str | None = None,
    changes: Iterable[Callable[[Checkpoint], Checkpoint]] = (),
    shard_bytes: int | None = None,
    manifest: bool = False,
    force: bool = False,
) -> Checkpoint:
    """Convert a file of weights to another format and dialect.

    The target is written as `se_weights.write` writes it: read back, compared bit for bit, then renamed.

    Args:
        source: The file or folder to read, in any known format.
        target: The file or folder to write; its suffix names the format.
        dialect: The dialect to write; the first one of the target's format if not given. If the target's format
            cannot hold it, or if the source matches several dialects and it is one of them, it is instead the
            dialect to read.
        source_dialect: The dialect to read; inferred from the tensors if not given.
        architecture: The architecture of the source, or its name; inferred from the tensors if not given.
        prefix: The prefix of the network in a source that contains several; found if not given.
        changes: Functions that are applied in order before writing, such as `rgb_input`, `standard_classes`,
            `fold_batchnorm` and `cast_to("float16")`.
        shard_bytes: For a `.hf` folder, the largest size of the tensors in each shard, in bytes.
        manifest: Whether to write a conversion record next to the target (`TARGET.manifest.json`).
        force: Whether to overwrite a target that already exists.

    Returns:
        The checkpoint that was written.

    Raises:
        TargetExists: The target exists and `force` is not set, or the target is the source or part of it.
        WeightMismatch: The tensors of the source are not those of any known architecture and dialect.
        AmbiguousPrefix: The source contains several networks, each under a prefix.
        AmbiguousDialect: The source matches several dialects that compute different functions.
        MalformedFile: The source is damaged.
        UnsafeFile: The source would run code, read other files or exhaust the memory.
        UnsupportedFormat: A format is not known, or the target's format or dialect cannot represent the weights.
        SourceChanged: The source was changed while it was read.
        WriteFailed: The target was not read back bit for bit.
    """
    source, target = Path(source), Path(target)
    _expect_separate(source, target)
    file_format = format_of(target)
    if dialect and not source_dialect and find_dialect(dialect).framework not in file_format.frameworks:
        dialect, source_dialect = None, dialect
    if manifest and record_path(target).exists() and not force:
        raise TargetExists(
            f"{record_path(target)} already exists: remove it, or overwrite it with --force (force=True)"
        )
    if source_dialect:
        checkpoint = read(source, dialect=source_dialect, architecture=architecture, prefix=prefix, hashed=True)
    else:
        checkpoint, dialect_used = read_disambiguated(
            source, dialect=dialect, architecture=architecture, prefix=prefix, hashed=True
        )
        dialect = None if dialect_used else dialect
    for change in changes:
        checkpoint = change(checkpoint)
    write(checkpoint, target, dialect=dialect, force=force, shard_bytes=shard_bytes)
    if manifest:
        write_conversion_record(checkpoint, dialect_to_write(file_format, dialect, target).name, target, force=force)
    return checkpoint


def _expect_separate(source: Path, target: Path) -> None:
    """Raise TargetExists if writing the target would change the source."""
    if not source.exists() or not target.parent.exists():
        return
    real_source, real_target = source.resolve(), target.resolve()
    if real_source == real_target or (target.exists() and target.samefile(source)):
        raise TargetExists(f"{target} is the source itself: choose another target")
    if real_target.is_relative_to(real_source) or real_source.is_relative_to(real_target):
        raise TargetExists(f"of {target} and {source}, one contains the other: choose a target outside the source")
    into_shard = source.name.endswith(SHARDED_SAFETENSORS.suffixes) and real_target.name.endswith(SAFETENSORS.suffixes)
    if into_shard and real_source.parent == real_target.parent and target.exists():
        raise TargetExists(f"{target} may be a shard of the source: choose a target in another folder")
