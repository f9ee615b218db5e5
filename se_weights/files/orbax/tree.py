"""Reads the tree of arrays that an Orbax folder declares in its `_METADATA`.

Names are the paths in the tree, as in Flax's msgpack, without the level `value` that an NNX state has under every
array. The state of the optimizer and the count of steps are left out.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from se_weights.files.folders import is_file_name
from se_weights.files.orbax import zarr
from se_weights.files.orbax.folder import DATABASE, TRAINING_STATE, TREE, read_document
from se_weights.refusals import refuse

VALUE_LEVEL = "value"
STRING = "string"
"""The `value_type` of entries that are not arrays."""


@dataclass(frozen=True)
class Entry:
    """An array that `_METADATA` declares.

    Attributes:
        levels: Its path in the tree.
        write_shape: The shape of the part that each device wrote, if it is declared.
    """

    levels: tuple[str, ...]
    write_shape: tuple[int, ...] | None

    @property
    def name(self) -> str:
        """The name of the tensor."""
        has_value_level = len(self.levels) > 1 and self.levels[-1] == VALUE_LEVEL
        return "/".join(self.levels[:-1] if has_value_level else self.levels)

    @property
    def key(self) -> str:
        """Orbax's name of the array."""
        return ".".join(self.levels)


@dataclass(frozen=True)
class Tree:
    """The arrays of a folder.

    Attributes:
        folder: The folder.
        entries: The arrays by name.
        layout: The version of zarr in which they are stored.
        in_database: Whether they are stored in an OCDBT database.
        left: First levels that were left out, since they are not part of a network.
    """

    folder: Path
    entries: Mapping[str, Entry]
    layout: zarr.Layout
    in_database: bool
    left: frozenset[str]

    @property
    def is_nnx(self) -> bool:
        """Whether it is an NNX state, which has a level `value` under every array."""
        return any(entry.levels[-1] == VALUE_LEVEL for entry in self.entries.values())


def read_tree(folder: Path) -> Tree:
    """Reads the tree of a folder. Raises WeightsError."""
    metadata = read_document(folder / TREE)
    described = metadata.get("tree_metadata")
    if not isinstance(described, dict) or not described:
        raise refuse("orbax.metadata", f"{TREE} does not list arrays")
    all_entries = [entry for description in described.values() if (entry := _entry(description))]
    entries = {entry.name: entry for entry in all_entries if entry.levels[0] not in TRAINING_STATE}
    left = {entry.levels[0] for entry in all_entries} & set(TRAINING_STATE)
    if len({entry.name for entry in all_entries}) != len(all_entries):
        raise refuse("orbax.metadata", f"{TREE} lists an array twice")
    has_database = (folder / DATABASE).is_file()
    if metadata.get("use_ocdbt") and not has_database:
        raise refuse("orbax.metadata", f"{DATABASE} is missing")
    in_database = has_database if metadata.get("use_ocdbt") is None else bool(metadata["use_ocdbt"])
    layout = zarr.ZARR3 if metadata.get("use_zarr3") else zarr.ZARR2
    return Tree(folder, entries, layout, in_database, frozenset(left))


def _entry(description: Any) -> Entry | None:
    """An entry, or None for an empty branch or a string."""
    try:
        value = description["value_metadata"]
        if value["skip_deserialize"] or value["value_type"] == STRING:
            return None
        levels = tuple(level["key"] for level in description["key_metadata"])
        shape = value.get("write_shape")
        entry = Entry(levels, None if shape is None else tuple(shape))
        if all(map(_is_plain, levels)) and is_file_name(entry.key) and all(map(zarr.is_size, shape or ())):
            return entry
    except (KeyError, TypeError, AttributeError):
        pass
    raise refuse("orbax.metadata", f"an entry of {TREE} does not describe an array: {json.dumps(description)}")


def _is_plain(level: Any) -> bool:
    """Whether a level of a path can be part of a folder's name, and leads nowhere else."""
    return isinstance(level, str) and level not in ("", ".", "..") and not set(level) & set("/\\\0")
