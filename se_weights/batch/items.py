"""What a batch consists of: the checkpoints of a folder or of a list, and the shares that machines take of them."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from se_weights.errors import MalformedFile, TargetExists, UnsupportedFormat
from se_weights.files import FORMATS, detect_format


@dataclass(frozen=True)
class Item:
    """A file or folder to convert, and where to, inside the batch's folder; `dialect` is the one to read, if told."""

    source: str
    target: str
    dialect: str | None = None


@dataclass(frozen=True)
class BatchShard:
    """The i-th of n parts of a batch, from 1. What belongs to it depends on an item's own name alone."""

    number: int = 1
    count: int = 1

    def has(self, item: Item) -> bool:
        return int(hashlib.sha256(item.source.encode()).hexdigest(), 16) % self.count == self.number - 1

    @property
    def results(self) -> str:
        """The name of the file of its results."""
        return "results.jsonl" if self.count == 1 else f"results-{self.number}-of-{self.count}.jsonl"


def items_in(source: Path, out: Path, suffix: str) -> list[Item]:
    """The items of a folder, wherever they lie in it; or of a list, with a path or an object of JSON in each line.

    What is listed twice is one item. Raises MalformedFile for a line that is neither, UnsupportedFormat where two would
    become the same file, and TargetExists where the targets would lie among the sources.
    """
    if source.resolve() == out.resolve():
        raise TargetExists(f"{out} is the folder of the sources: choose another for the targets")
    items = list(dict.fromkeys(_in_folder(source, out, suffix) if source.is_dir() else _in_list(source, suffix)))
    by_target: dict[str, Item] = {}
    for item in items:
        if Path(item.target).is_absolute() or ".." in Path(item.target).parts:
            raise MalformedFile(f"{source}: the target {item.target} of {item.source} does not lie inside {out}")
        other = by_target.setdefault(os.path.normcase(item.target), item)
        if other != item:
            clash = f"{other.source} and {item.source} would both become {item.target}"
            raise UnsupportedFormat(f"{clash}: give a list with a target for each")
    return items


def _in_folder(folder: Path, out: Path, suffix: str) -> Iterator[Item]:
    for path in sorted(_checkpoints(folder, out)):
        yield Item(str(path), _renamed(path.relative_to(folder), suffix))


def _checkpoints(folder: Path, out: Path) -> Iterator[Path]:
    suffixes = tuple(suffix for known in FORMATS for suffix in known.suffixes)
    for path in folder.iterdir():
        if path.name.startswith(".") or path.resolve() == out.resolve():
            continue
        if not path.is_dir():
            if path.name.lower().endswith(suffixes):
                yield path
        elif _is_checkpoint(path):
            yield path
        else:
            yield from _checkpoints(path, out)


def _is_checkpoint(folder: Path) -> bool:
    try:
        detect_format(folder)
    except UnsupportedFormat:
        return folder.name.lower().endswith((".hf", ".orbax"))
    return True


def _in_list(path: Path, suffix: str) -> Iterator[Item]:
    try:
        lines = path.read_text().splitlines()
    except UnicodeDecodeError as error:
        raise MalformedFile(f"{path} is no list of files: it is not a text") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line) if line.lstrip().startswith("{") else {"source": line.strip()}
            source = _text(entry.pop("source"))
            target = _text(entry.pop("target", _renamed(Path(Path(source).name), suffix)))
            dialect = entry.pop("dialect", None)
            yield Item(source, target, _text(dialect) if dialect is not None else None)
        except (ValueError, KeyError, TypeError) as error:
            raise MalformedFile(
                f"{path}, line {number}: neither a path nor an object with a source: {error}"
            ) from error
        if entry:
            raise MalformedFile(
                f"{path}, line {number}: only source, target and dialect are known, not {', '.join(entry)}"
            )


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise TypeError(f"{value!r} is no name")
    return value


def _renamed(path: Path, suffix: str) -> str:
    name = path.name
    for ending in sorted((ending for known in FORMATS for ending in known.suffixes), key=len, reverse=True):
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
            break
    return path.with_name(name + suffix).as_posix()
