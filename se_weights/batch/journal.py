"""The journal of a batch, from which one that was killed is gone on with."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from se_weights.batch.items import Item
from se_weights.batch.options import Options
from se_weights.errors import TargetExists
from se_weights.files.hashing import file_sha256
from se_weights.provenance.conversion_record import record_path

Result = Mapping[str, Any]
"""What became of an item: a line of the results."""


class Journal:
    """What was begun and what is done, a line each, on the disk before anything builds on it."""

    def __init__(self, path: Path, results: Path, resume: bool, options: Options) -> None:
        earlier = [known for known in (results, path) if known.exists()]
        if earlier and not (resume or options.force):
            choices = "go on with it (--resume), begin anew (--force), or choose another folder"
            raise TargetExists(f"{earlier[0]} is of an earlier batch: {choices}")
        lines = [line for known in earlier for line in _lines(known)] if resume else []
        if not resume:
            path.unlink(missing_ok=True)
        self.path = path
        self.options = options
        self.begun = {line["begun"] for line in lines if "begun" in line}
        finished = [line.get("done", line) for line in lines if "begun" not in line]
        self.finished = {result["target"]: result for result in finished if "target" in result}

    def __enter__(self) -> "Journal":
        self.file = self.path.open("ab")
        if self.file.tell():
            self.file.write(b"\n")  # the last line may have been cut off
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        self.file.close()
        if kind is None:
            self.path.unlink()

    def add(self, line: Mapping[str, Any]) -> None:
        self.file.write(json.dumps(line).encode() + b"\n")
        self.file.flush()
        os.fsync(self.file.fileno())

    def done(self, item: Item, out: Path) -> Result | None:
        """The result of an item that is done and whole."""
        result = self.finished.get(item.target)
        if not result or result["status"] or result["options"] != self.options.digest:
            return None
        target = out / item.target
        try:
            whole = (
                result["source"] == item.source
                and result["source_sha256"] == file_sha256(Path(item.source))
                and result["target_sha256"] == file_sha256(target)
                and (not self.options.manifest or result["manifest_sha256"] == file_sha256(record_path(target)))
            )
        except (OSError, KeyError):
            return None
        return result if whole else None

    def ours(self, item: Item) -> bool:
        """Whether what lies under an item's target may be what this batch has left there."""
        return item.target in self.begun or item.target in self.finished


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            yield entry
