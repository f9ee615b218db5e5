"""Where in an Orbax folder its tree of arrays lies, and whether its saving was finished.

    run/                        a training run, of ocp.CheckpointManager or flax.training.checkpoints
      7/                        a step; those of orbax 0.11 and later have a _CHECKPOINT_METADATA
        default/                an item; one that is a tree has a _METADATA

A tree may also be saved by itself, and is then step and item in one.
"""

import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from se_weights.files.json_document import DuplicateKey, expect_texts, parse_object
from se_weights.files.limits import HEADER
from se_weights.refusals import refuse

TREE, STEP, DATABASE, COMMITTED = "_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt", "commit_success.txt"
TEMPORARY = ".orbax-checkpoint-tmp"
USUAL_ITEM = "default"
METADATA = "se_resnet"
FILES = 100_000
KINDS = {stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


def is_orbax(path: Path) -> bool:
    """Whether a folder is one of Orbax: a tree, a step that holds trees, or a training run that holds steps."""
    places = (f"{down}{mark}" for down in ("", "*/", "*/*/") for mark in (TREE, STEP, DATABASE))
    return TEMPORARY in path.name or any(any(path.glob(place)) for place in places)


def expect_plain(path: Path) -> None:
    """Refuse what is neither file nor folder: Orbax would read a chunk from wherever a link leads."""
    seen, folders = 0, [path]
    while folders:
        for entry in folders.pop().iterdir():
            kind = stat.S_IFMT(entry.lstat().st_mode)
            if kind == stat.S_IFDIR:
                folders.append(entry)
            elif kind != stat.S_IFREG:
                raise refuse("file.link", f"{entry.relative_to(path)} is {KINDS.get(kind, 'a device')}")
            seen += 1
            if seen > FILES:
                raise refuse("orbax.metadata", f"it has more than {FILES:,} files")


def descend(path: Path) -> list[Path]:
    """The folder given, and those in it down to the one that holds the tree. Refuses what was never finished."""
    folders = [path]
    _expect_committed(path)
    while not (folders[-1] / TREE).is_file():
        outer, inner = folders[-1], _only_child(folders[-1])
        _expect_committed(inner)
        if (outer / STEP).is_file() and (inner / COMMITTED).exists() and not (outer / COMMITTED).exists():
            raise refuse("orbax.uncommitted", f"its item {inner.name} has a {COMMITTED}, and {outer.name} has none")
        folders.append(inner)
    return folders


def own_metadata(folders: Sequence[Path]) -> dict[str, str]:
    """What se-resnet wrote beside the arrays, in Orbax's place for what its users want to keep."""
    for folder in folders:
        if (own := _own(folder)) is not None:
            return expect_texts(own)
    return {}


def document(path: Path) -> dict[str, Any]:
    try:
        return parse_object(text(path), "orbax.metadata")
    except DuplicateKey as error:
        raise refuse("orbax.metadata", f"{path.name}: {error}") from error


def text(path: Path) -> str:
    if path.stat().st_size > HEADER:
        raise refuse("orbax.metadata", f"{path.name} has {path.stat().st_size:,} bytes, and {HEADER:,} are allowed")
    return path.read_text(encoding="utf-8", errors="replace")


def _only_child(folder: Path) -> Path:
    children = sorted(child for child in folder.iterdir() if child.is_dir() and is_orbax(child))
    whole = [child for child in children if TEMPORARY not in child.name]
    chosen = [child for child in whole if child.name == USUAL_ITEM] or whole
    if len(chosen) == 1:
        return chosen[0]
    if children and not whole:
        raise refuse("orbax.uncommitted", f"it holds nothing but {', '.join(child.name for child in children)}")
    if not chosen and any((folder / mark).exists() for mark in (STEP, DATABASE)):
        raise refuse("orbax.metadata", f"{TREE} is missing")
    raise refuse("orbax.steps", ", ".join(child.name for child in chosen) or "there are none")


def _expect_committed(folder: Path) -> None:
    """A folder under way has a name of its own, or no time at which it was done.

    Since 0.12.3 a file says that it was done. None of a folder's metadata tell whether it is as new as that, but ours.
    """
    if TEMPORARY in folder.name:
        raise refuse("orbax.uncommitted", f"{folder.name} is the name that it has until it is done")
    if (folder / STEP).is_file() and not (folder / COMMITTED).exists():
        timed = document(folder / STEP).get("commit_timestamp_nsecs")
        if timed is None or _own(folder) is not None:
            raise refuse("orbax.uncommitted", f"{COMMITTED} is missing")


def _own(folder: Path) -> Mapping[str, Any] | None:
    custom = document(folder / STEP).get("custom_metadata") if (folder / STEP).is_file() else None
    own = custom.get(METADATA) if isinstance(custom, dict) else None
    if own is not None and not isinstance(own, dict):
        raise refuse("metadata.json", f"{METADATA} is a {type(own).__name__} where an object belongs")
    return own
