"""What is looked for in the tree that a pickle gives: tensors, and the facts of a network."""

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from se_weights.files.limits import DEPTH, FACTS, NAME, NODES
from se_weights.files.stored import Tensor
from se_weights.files.torch.pickle_placeholders import ArrayPlaceholder
from se_weights.refusals import refuse


def leaves(tree: Any) -> dict[str, Tensor]:
    """Tensors by the keys that lead to them; numbers, texts and lists beside them are a training run's notes."""
    if not isinstance(tree, Mapping | Tensor | ArrayPlaceholder):
        raise refuse("pickle.content", f"it is a {type(tree).__name__}")
    found: dict[str, Tensor] = {}
    for count, (path, tensor) in enumerate(_walk(tree, "", 0)):
        if count > NODES:
            raise refuse("pickle.size", f"it has more than {NODES:,} branches")
        if tensor is not None and path in found:
            raise refuse("tensor.name", f"{path} stands twice")
        if tensor is not None:
            found[path] = tensor
    return found


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


def state_metadata(tree: Any, depth: int = 0) -> dict[str, str]:
    """What `se_torch` leaves in the metadata of its state_dicts, where torch keeps the versions of modules."""
    if not isinstance(tree, dict) or depth > 2:
        return {}
    modules = getattr(tree, "_metadata", None)
    for facts in modules.values() if isinstance(modules, dict) else ():
        if isinstance(facts, dict) and isinstance(facts.get("architecture"), dict):
            return {"architecture": _written(facts["architecture"])}
    found = (state_metadata(branch, depth + 1) for branch in dict.values(tree))
    return next(filter(None, found), {})


def _written(facts: dict[Any, Any]) -> str:
    """As JSON, piece by piece: what contains a thing many times over is short only in a pickle."""
    try:
        pieces = list(islice(json.JSONEncoder().iterencode(facts), FACTS))
    except (TypeError, ValueError, RecursionError) as error:
        raise refuse("metadata.json", f"an impossible architecture: {error}") from error
    if len(pieces) == FACTS:
        raise refuse("metadata.json", "an architecture has more facts than any has")
    return "".join(pieces)
