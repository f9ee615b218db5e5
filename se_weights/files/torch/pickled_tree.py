"""Finds the tensors, and the config of the architecture, in the tree that a pickle contains."""

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from se_weights.files.contents import Tensor
from se_weights.files.limits import CONFIG, DEPTH, NAME, OBJECTS
from se_weights.files.torch.pickle_placeholders import ArrayPlaceholder
from se_weights.refusals import refuse


def tensors_in_tree(tree: Any) -> dict[str, Tensor]:
    """The tensors by the keys that lead to them, joined by "/".

    Numbers, strings and lists, which training scripts save next to the weights, are ignored.

    Args:
        tree: What was unpickled: dictionaries in dictionaries.

    Raises:
        WeightsError: It is not a tree of tensors, or too large; or two tensors have the same name.
    """
    if not isinstance(tree, Mapping | Tensor | ArrayPlaceholder):
        raise refuse("pickle.content", f"it is a {type(tree).__name__}")
    tensors: dict[str, Tensor] = {}
    for count, (path, tensor) in enumerate(_walk(tree, "", 0)):
        if count > OBJECTS:
            raise refuse("pickle.size", f"it has more than {OBJECTS:,} branches")
        if tensor is not None and path in tensors:
            raise refuse("tensor.name", f"{path} occurs twice")
        if tensor is not None:
            tensors[path] = tensor
    return tensors


def _walk(tree: Any, path: str, depth: int) -> Iterator[tuple[str, Tensor | None]]:
    if depth > DEPTH:
        raise refuse("pickle.depth", f"{path[:200]} is more than {DEPTH} levels deep")
    if len(path) > NAME:
        raise refuse("tensor.name", path)
    tree = tree.tensor if isinstance(tree, ArrayPlaceholder) else tree
    yield path, tree if isinstance(tree, Tensor) else None
    if isinstance(tree, dict):
        for key, branch in dict.items(tree):
            yield from _walk(branch, f"{path}/{key}" if path else str(key), depth + 1)


def architecture_metadata(tree: Any, depth: int = 0) -> dict[str, str]:
    """The `architecture` that se_torch adds to the `_metadata` of its state dicts, where torch has module versions.

    Args:
        tree: The unpickled tree.
        depth: The number of levels above `tree`; at most two are searched below the root.

    Returns:
        The architecture as JSON by the key `architecture`; empty where the tree has none.

    Raises:
        WeightsError: The architecture cannot be written as JSON, or is too large.
    """
    if not isinstance(tree, dict) or depth > 2:
        return {}
    modules = getattr(tree, "_metadata", None)
    for metadata in modules.values() if isinstance(modules, dict) else ():
        if isinstance(metadata, dict) and isinstance(metadata.get("architecture"), dict):
            return {"architecture": _encode(metadata["architecture"])}
    inner = (architecture_metadata(branch, depth + 1) for branch in dict.values(tree))
    return next(filter(None, inner), {})


def _encode(config: dict[Any, Any]) -> str:
    """The JSON of a config, encoded step by step: objects that are referred to many times make it endless."""
    try:
        parts = list(islice(json.JSONEncoder().iterencode(config), CONFIG))
    except (TypeError, ValueError, RecursionError) as error:
        raise refuse("metadata.json", f"the config of its architecture is not valid: {error}") from error
    if len(parts) == CONFIG:
        raise refuse("metadata.json", "the config of its architecture is too large")
    return "".join(parts)
