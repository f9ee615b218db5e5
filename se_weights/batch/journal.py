"""The journal of a batch, from which an interrupted batch is resumed."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from se_weights.batch.items import Item
from se_weights.batch.options import Options
from se_weights.errors import TargetExists, WeightsError
from se_weights.files.hashing import file_sha256
from se_weights.provenance.conversion_record import record_path

Result = Mapping[str, Any]
"""The result of an item: a line of the results file."""


class Journal:
    """A file with a line for each item that was started or finished, flushed to the disk after each line.

    As a context manager it opens the file for appending, and removes it if the block succeeds.

    Args:
        path: The journal.
        results: The results file of the batch, which replaces the journal at the end.
        resume: Whether to read the results of an earlier batch.
        options: The options of this batch.

    Raises:
        TargetExists: There is an earlier batch, which is neither resumed nor overwritten (`options.force`).
    """

    def __init__(self, path: Path, results: Path, resume: bool, options: Options) -> None:
        earlier = [existing for existing in (results, path) if existing.exists()]
        if earlier and not (resume or options.force):
            choices = "resume it (--resume), start again (--force), or choose another folder"
            raise TargetExists(f"{earlier[0]} belongs to an earlier batch: {choices}")
        lines = [line for existing in earlier for line in _read_lines(existing)] if resume else []
        if not resume:
            path.unlink(missing_ok=True)
        self.path = path
        self.options = options
        self.started = {line["begun"] for line in lines if "begun" in line}
        finished = [line.get("done", line) for line in lines if "begun" not in line]
        self.finished = {result["target"]: result for result in finished if "target" in result}

    def __enter__(self) -> "Journal":
        self.file = self.path.open("ab")
        if self.file.tell():
            self.file.write(b"\n")  # the last line may be incomplete
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        self.file.close()
        if kind is None:
            self.path.unlink()

    def append(self, line: Mapping[str, Any]) -> None:
        """Write a line and flush it to the disk."""
        self.file.write(json.dumps(line).encode() + b"\n")
        self.file.flush()
        os.fsync(self.file.fileno())

    def finished_result(self, item: Item, out: Path, locate: Callable[[str], Path]) -> Result | None:
        """The result of an item that was converted, or None if source, target or options have changed since.

        Args:
            item: A source, and the path of its target in `out`.
            out: The folder of the batch's targets.
            locate: Returns the path of a source.
        """
        result = self.finished.get(item.target)
        if not result or result["status"] or result["options"] != self.options.digest:
            return None
        target = out / item.target
        try:
            unchanged = (
                result["source"] == item.source
                and result["source_sha256"] == file_sha256(locate(item.source))
                and result["target_sha256"] == file_sha256(target)
                and (not self.options.manifest or result["manifest_sha256"] == file_sha256(record_path(target)))
            )
        except (OSError, KeyError, WeightsError):
            return None
        return result if unchanged else None

    def may_overwrite(self, item: Item) -> bool:
        """Whether a file at the target of an item may have been written by this batch before it was interrupted."""
        return item.target in self.started or item.target in self.finished


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a journal or results file; other lines are incomplete and skipped."""
    for line in path.read_text(errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            yield entry
