"""The tree of arrays that an Orbax folder declares in its `_METADATA`.

Names are the tree's paths, as in Flax's msgpack. The level `value`, which an NNX state has under every array, is taken
off. What training keeps beside the weights is left: the state of an optimiser, and the count of steps.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from se_weights.files.folders import is_file_name
from se_weights.files.orbax import zarr
from se_weights.files.orbax.folder import DATABASE, TREE, document
from se_weights.refusals import refuse

LEVEL = "value"
BESIDE = ("step", "opt_state", "optimizer")
"""First levels of a TrainState, of an nnx.Optimizer and of what scripts save beside a model."""

NO_ARRAY = "string"


@dataclass(frozen=True)
class Entry:
    """An array as `_METADATA` has it: its path, and the shape of what each device wrote of it, where that is told."""

    levels: tuple[str, ...]
    piece: tuple[int, ...] | None

    @property
    def name(self) -> str:
        inner = len(self.levels) > 1 and self.levels[-1] == LEVEL
        return "/".join(self.levels[:-1] if inner else self.levels)

    @property
    def key(self) -> str:
        """What Orbax calls the array."""
        return ".".join(self.levels)


@dataclass(frozen=True)
class Tree:
    """The arrays by name, how they lie in the folder, and what was left because it is no part of a network."""

    folder: Path
    entries: Mapping[str, Entry]
    layout: zarr.Layout
    in_database: bool
    left: frozenset[str]


def read_tree(folder: Path) -> Tree:
    told = document(folder / TREE)
    described = told.get("tree_metadata")
    if not isinstance(described, dict) or not described:
        raise refuse("orbax.metadata", f"{TREE} lists no arrays")
    all_entries = [entry for description in described.values() if (entry := _entry(description))]
    entries = {entry.name: entry for entry in all_entries if entry.levels[0] not in BESIDE}
    left = {entry.levels[0] for entry in all_entries} & set(BESIDE)
    if len({entry.name for entry in all_entries}) != len(all_entries):
        raise refuse("orbax.metadata", f"{TREE} lists an array twice")
    has_database = (folder / DATABASE).is_file()
    if told.get("use_ocdbt") and not has_database:
        raise refuse("orbax.metadata", f"{DATABASE} is missing")
    in_database = has_database if told.get("use_ocdbt") is None else bool(told["use_ocdbt"])
    return Tree(folder, entries, zarr.ZARR3 if told.get("use_zarr3") else zarr.ZARR2, in_database, frozenset(left))


def _entry(description: Any) -> Entry | None:
    """An entry, or None for what is no array: an empty branch, or a text."""
    try:
        value = description["value_metadata"]
        if value["skip_deserialize"] or value["value_type"] == NO_ARRAY:
            return None
        levels = tuple(level["key"] for level in description["key_metadata"])
        piece = value.get("write_shape")
        entry = Entry(levels, None if piece is None else tuple(piece))
        if all(map(_is_plain, levels)) and is_file_name(entry.key) and all(map(zarr.is_size, piece or ())):
            return entry
    except (KeyError, TypeError, AttributeError):
        pass
    raise refuse("orbax.metadata", f"{TREE} describes no array by {json.dumps(description)}")


def _is_plain(level: Any) -> bool:
    """Whether a level of a path can be part of a folder's name, and leads nowhere else."""
    return isinstance(level, str) and level not in ("", ".", "..") and not set(level) & set("/\\\0")
