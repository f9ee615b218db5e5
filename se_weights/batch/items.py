"""The items of a batch: checkpoints in a folder or a list, and the shards that several machines convert."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from se_weights.errors import MalformedFile, TargetExists, UnsupportedFormat
from se_weights.files import FORMATS, detect_format
from se_weights.files.opening import FOLDER_FILES

READING_KEYS = ("dialect", "architecture", "prefix")
"""The keys of a line in a list that say how its source is read."""


@dataclass(frozen=True)
class Item:
    """One conversion of a batch.

    Attributes:
        source: The path of the file or folder to read, or an address that the caller of `run_batch` locates.
        target: The path to write, relative to the batch's output folder.
        dialect: The dialect to read, or None for that of the batch's options.
        architecture: The name of the architecture, or None for that of the batch's options.
        prefix: The prefix of the network in a file that contains several, or None for that of the batch's options.
    """

    source: str
    target: str
    dialect: str | None = None
    architecture: str | None = None
    prefix: str | None = None


@dataclass(frozen=True)
class BatchShard:
    """One of several disjoint parts of a batch. Which items it has depends only on the paths of their sources.

    Attributes:
        number: The number of the part, from 1.
        count: The number of parts.
    """

    number: int = 1
    count: int = 1

    def has(self, item: Item) -> bool:
        """Whether an item belongs to this part."""
        return int(hashlib.sha256(item.source.encode()).hexdigest(), 16) % self.count == self.number - 1

    @property
    def results(self) -> str:
        """The name of the file with the results of this part."""
        return "results.jsonl" if self.count == 1 else f"results-{self.number}-of-{self.count}.jsonl"


def items_in(source: Path, out: Path, suffix: str) -> list[Item]:
    """List the items of a batch, without duplicates.

    Args:
        source: A folder, which is searched recursively; or a text file, in which each line is a path or a JSON object
            with `source` and optionally `target`, `dialect`, `architecture` and `prefix`.
        out: The output folder. It may be inside `source`, and is then not searched.
        suffix: The suffix of targets that the list does not name.

    Raises:
        MalformedFile: A line of the list is invalid, or a target is outside `out`.
        UnsupportedFormat: Two sources have the same target.
        TargetExists: `out` is the folder of the sources.
        FileNotFoundError: There is no such folder or list.
    """
    if source.resolve() == out.resolve():
        raise TargetExists(f"{out} is the folder of the sources: choose another folder for the targets")
    if not source.exists():
        raise FileNotFoundError(f"there is no folder or list {source}")
    listed = _items_in_folder(source, out, suffix) if source.is_dir() else _items_in_list(source, suffix)
    items = list(dict.fromkeys(listed))
    by_target: dict[str, Item] = {}
    for item in items:
        if Path(item.target).is_absolute() or ".." in Path(item.target).parts:
            raise MalformedFile(f"{source}: the target {item.target} of {item.source} is outside {out}")
        other = by_target.setdefault(os.path.normcase(item.target), item)
        if other != item:
            clash = f"{other.source} and {item.source} would both become {item.target}"
            raise UnsupportedFormat(f"{clash}: use a list that names a target for each")
    return items


def _items_in_folder(folder: Path, out: Path, suffix: str) -> Iterator[Item]:
    for path in sorted(_find_checkpoints(folder, out)):
        yield Item(str(path), _default_target(path.relative_to(folder), suffix))


def _find_checkpoints(folder: Path, out: Path) -> Iterator[Path]:
    suffixes = tuple(suffix for known in FORMATS for suffix in known.suffixes)
    for path in folder.iterdir():
        if path.name.startswith(".") or path.resolve() == out.resolve():
            continue
        if not path.is_dir():
            if path.name.lower().endswith(suffixes):
                yield path
        elif _is_checkpoint_folder(path):
            yield path
        else:
            yield from _find_checkpoints(path, out)


def _is_checkpoint_folder(folder: Path) -> bool:
    """Whether a folder is a checkpoint itself, and not one of files: its only file is converted as a file."""
    try:
        _, inner = detect_format(folder)
    except UnsupportedFormat:
        return folder.name.lower().endswith((".hf", ".orbax"))
    return inner == folder or inner.name in dict(FOLDER_FILES)


def _items_in_list(path: Path, suffix: str) -> Iterator[Item]:
    try:
        lines = path.read_text().splitlines()
    except UnicodeDecodeError as error:
        raise MalformedFile(f"{path} is not a list of files: it is not a text file") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line) if line.lstrip().startswith("{") else {"source": line.strip()}
            source = _expect_name(entry.pop("source"))
            target = _expect_name(entry.pop("target", _default_target(Path(Path(source).name), suffix)))
            yield Item(source, target, **{key: _optional_name(entry.pop(key, None)) for key in READING_KEYS})
        except (ValueError, KeyError, TypeError) as error:
            raise MalformedFile(
                f"{path}, line {number}: expected a path, or a JSON object with a source: {error}"
            ) from error
        if entry:
            raise MalformedFile(
                f"{path}, line {number}: unknown keys {', '.join(entry)}; known: source, target, "
                f"{', '.join(READING_KEYS)}"
            )


def _expect_name(value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise TypeError(f"{value!r} is not a valid name")
    return value


def _default_target(path: Path, suffix: str) -> str:
    """The path with its format suffix replaced."""
    name = path.name
    for known in sorted((known for file_format in FORMATS for known in file_format.suffixes), key=len, reverse=True):
        if name.lower().endswith(known):
            name = name[: -len(known)]
            break
    return path.with_name(name + suffix).as_posix()


def _optional_name(value: object) -> str | None:
    return None if value is None else _expect_name(value)
