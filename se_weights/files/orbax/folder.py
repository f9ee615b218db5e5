"""Finds the tree of arrays in an Orbax folder, and checks that its saving was completed.

    run/                        a training run, of ocp.CheckpointManager or flax.training.checkpoints
      7/                        a step; orbax 0.11 and later write a _CHECKPOINT_METADATA into it
        default/                an item; one that is a tree has a _METADATA

A tree can also be saved without these levels; its folder is then the step and the item.
"""

import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from se_weights.errors import WeightsError
from se_weights.files.json_document import DuplicateKey, check_strings, parse_object
from se_weights.files.limits import HEADER
from se_weights.refusals import refuse

TREE, STEP, DATABASE, COMMITTED = "_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt", "commit_success.txt"
TEMPORARY = ".orbax-checkpoint-tmp"
DEFAULT_ITEM = "default"
COLLECTIONS = ("batch_stats", "params")
"""The items of a network that is saved in two, as Flax users save its parameters and its statistics."""

TRAINING_STATE = (
    "step",
    "opt_state",
    "optimizer",
    "opt",
    "optimizer_state",
    "meta",
    "metadata",
    "metrics",
    "rng",
    "rngs",
)
"""First levels, or items, of a TrainState, of an nnx.Optimizer and of what training scripts save next to a model."""

STEP_NAME = re.compile(r"(?:[A-Za-z]+[_-])?(\d+)")
"""The folder of a step: `3`, `checkpoint_3`, `step-3`."""
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


@dataclass(frozen=True)
class CheckpointFolders:
    """Where the trees of a checkpoint are in a folder.

    Attributes:
        outer: The given folder, and those in it down to that of the trees.
        trees: The folder of the tree; two if the collections of a network were saved as items of their own.
        left: The names of other items of the checkpoint, and of earlier steps.
    """

    outer: tuple[Path, ...]
    trees: tuple[Path, ...]
    left: tuple[str, ...] = ()


def find_checkpoint(path: Path) -> CheckpointFolders:
    """Finds the folders that contain the trees of a checkpoint: of a training run, those of the newest step.

    Raises:
        WeightsError: The folder contains several checkpoints, or the saving was not completed.
    """
    outer: list[Path] = [path]
    left: list[str] = []
    _check_committed(path)
    while not (outer[-1] / TREE).is_file():
        folder = outer[-1]
        children, others = _children(folder)
        for child in children:
            _check_committed(child)
            if (folder / STEP).is_file() and (child / COMMITTED).exists() and not (folder / COMMITTED).exists():
                raise refuse(
                    "orbax.uncommitted", f"its item {child.name} has a {COMMITTED}, and {folder.name} does not"
                )
        left += others
        if len(children) > 1:
            return CheckpointFolders(tuple(outer), tuple(children), tuple(left))
        outer += children
    return CheckpointFolders(tuple(outer), (outer[-1],), tuple(left))


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


def _children(folder: Path) -> tuple[list[Path], list[str]]:
    """The folder in a folder that contains the tree, or those of the items of a network; and the names of the others.

    Of the steps of a training run, this is the newest; of several items, that which is not the optimizer's.
    """
    children = sorted(child for child in folder.iterdir() if child.is_dir() and is_orbax(child))
    completed = [child for child in children if TEMPORARY not in child.name]
    steps = {child: int(found[1]) for child in completed if (found := STEP_NAME.fullmatch(child.name))}
    items = [child for child in completed if child.name not in TRAINING_STATE]
    if {child.name for child in items} == set(COLLECTIONS):
        chosen = items
    elif len(steps) == len(completed) > 0:
        chosen = [max(steps, key=lambda step: steps[step])]
    else:
        chosen = [child for child in items if child.name == DEFAULT_ITEM] or items
        if len(chosen) != 1:
            raise _no_checkpoint(folder, children, completed)
    return chosen, [child.name for child in completed if child not in chosen]


def _no_checkpoint(folder: Path, children: Sequence[Path], completed: Sequence[Path]) -> WeightsError:
    if children and not completed:
        return refuse("orbax.uncommitted", f"it only contains {', '.join(child.name for child in children)}")
    if not completed and any((folder / name).exists() for name in (STEP, DATABASE)):
        return refuse("orbax.metadata", f"{TREE} is missing")
    return refuse("orbax.steps", ", ".join(child.name for child in completed) or "there are none")


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
