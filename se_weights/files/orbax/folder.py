"""Finds the tree of arrays in an Orbax folder, and checks that its saving was completed.

    run/                        a training run, of ocp.CheckpointManager or flax.training.checkpoints
      7/                        a step; orbax 0.11 and later write a _CHECKPOINT_METADATA into it
        default/                an item; one that is a tree has a _METADATA

A tree can also be saved without these levels; its folder is then the step and the item.
"""

import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from se_weights.files.json_document import DuplicateKey, check_strings, parse_object
from se_weights.files.limits import HEADER
from se_weights.refusals import refuse

TREE, STEP, DATABASE, COMMITTED = "_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt", "commit_success.txt"
TEMPORARY = ".orbax-checkpoint-tmp"
DEFAULT_ITEM = "default"
METADATA = "se_resnet"
"""The key of our metadata in Orbax's `custom_metadata`."""

FILES = 100_000
"""Files and folders that an Orbax folder may contain."""

KINDS = {stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


def is_orbax(path: Path) -> bool:
    """Whether a folder is one of Orbax: a tree, a step that contains trees, or a training run that contains steps."""
    patterns = (f"{levels}{name}" for levels in ("", "*/", "*/*/") for name in (TREE, STEP, DATABASE))
    return TEMPORARY in path.name or any(any(path.glob(pattern)) for pattern in patterns)


def check_entries(path: Path) -> None:
    """Checks that a folder contains only files and folders, since a link in place of a chunk would be followed.

    Raises:
        WeightsError: It contains a link, a pipe, a socket or a device, or too many files.
    """
    count, folders = 0, [path]
    while folders:
        for entry in folders.pop().iterdir():
            kind = stat.S_IFMT(entry.lstat().st_mode)
            if kind == stat.S_IFDIR:
                folders.append(entry)
            elif kind != stat.S_IFREG:
                raise refuse("file.link", f"{entry.relative_to(path)} is {KINDS.get(kind, 'a device')}")
            count += 1
            if count > FILES:
                raise refuse("orbax.metadata", f"it has more than {FILES:,} files")


def find_tree(path: Path) -> list[Path]:
    """Finds the folder that contains the tree.

    Returns:
        The given folder, and those in it down to that of the tree.

    Raises:
        WeightsError: The folder contains several steps, or the saving was not completed.
    """
    folders = [path]
    _check_committed(path)
    while not (folders[-1] / TREE).is_file():
        outer, inner = folders[-1], _only_child(folders[-1])
        _check_committed(inner)
        if (outer / STEP).is_file() and (inner / COMMITTED).exists() and not (outer / COMMITTED).exists():
            raise refuse("orbax.uncommitted", f"its item {inner.name} has a {COMMITTED}, and {outer.name} does not")
        folders.append(inner)
    return folders


def read_own_metadata(folders: Sequence[Path]) -> dict[str, str]:
    """The metadata that se-resnet wrote into the first of these folders that has any."""
    for folder in folders:
        if (metadata := _own_metadata(folder)) is not None:
            return check_strings(metadata)
    return {}


def read_document(path: Path) -> dict[str, Any]:
    """The object in a JSON file of Orbax. Raises WeightsError."""
    try:
        return parse_object(read_text(path), "orbax.metadata")
    except DuplicateKey as error:
        raise refuse("orbax.metadata", f"{path.name}: {error}") from error


def read_text(path: Path) -> str:
    """The text of a file. Raises WeightsError for one that is too large."""
    if path.stat().st_size > HEADER:
        raise refuse("orbax.metadata", f"{path.name} has {path.stat().st_size:,} bytes, and {HEADER:,} are allowed")
    return path.read_text(encoding="utf-8", errors="replace")


def _only_child(folder: Path) -> Path:
    children = sorted(child for child in folder.iterdir() if child.is_dir() and is_orbax(child))
    completed = [child for child in children if TEMPORARY not in child.name]
    candidates = [child for child in completed if child.name == DEFAULT_ITEM] or completed
    if len(candidates) == 1:
        return candidates[0]
    if children and not completed:
        raise refuse("orbax.uncommitted", f"it only contains {', '.join(child.name for child in children)}")
    if not candidates and any((folder / name).exists() for name in (STEP, DATABASE)):
        raise refuse("orbax.metadata", f"{TREE} is missing")
    raise refuse("orbax.steps", ", ".join(child.name for child in candidates) or "there are none")


def _check_committed(folder: Path) -> None:
    """Checks that the saving of a folder was completed.

    Until then the folder has a temporary name, or its metadata have no time stamp. Since 0.12.3 a file marks a complete
    folder; only our own metadata tell that a folder is as recent as that.
    """
    if TEMPORARY in folder.name:
        raise refuse("orbax.uncommitted", f"{folder.name} is a temporary name")
    if (folder / STEP).is_file() and not (folder / COMMITTED).exists():
        time_stamp = read_document(folder / STEP).get("commit_timestamp_nsecs")
        if time_stamp is None or _own_metadata(folder) is not None:
            raise refuse("orbax.uncommitted", f"{COMMITTED} is missing")


def _own_metadata(folder: Path) -> Mapping[str, Any] | None:
    custom = read_document(folder / STEP).get("custom_metadata") if (folder / STEP).is_file() else None
    metadata = custom.get(METADATA) if isinstance(custom, dict) else None
    if metadata is not None and not isinstance(metadata, dict):
        raise refuse("metadata.json", f"{METADATA} is a {type(metadata).__name__}, not an object")
    return metadata
