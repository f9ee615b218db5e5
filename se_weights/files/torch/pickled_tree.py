"""Finds the tensors, and the config of the architecture, in the tree that a pickle contains."""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from se_weights.files.contents import FileContents, Tensor, UnreadObject
from se_weights.files.limits import CONFIG, DEPTH, NAME, OBJECTS
from se_weights.files.torch.inert_objects import InertPlaceholder, nested
from se_weights.files.torch.pickle_names import is_plain
from se_weights.files.torch.pickle_placeholders import ArrayPlaceholder
from se_weights.refusals import refuse


def contents_of_tree(tree: Any, metadata: Mapping[str, str], training: bool) -> FileContents:
    """The contents of a pickle: tensors by the keys that lead to them, joined by "/".

    Numbers, strings and lists, which training scripts save next to the weights, are ignored; objects are listed.

    Args:
        tree: What was unpickled: dictionaries in dictionaries, or in a list or tuple.
        metadata: The metadata of the file.
        training: Whether it may be a training checkpoint.

    Raises:
        WeightsError: It is not a tree of tensors, or too large; or two tensors have the same name.
    """
    if not isinstance(tree, Mapping | Tensor | ArrayPlaceholder | InertPlaceholder | list | tuple):
        raise refuse("pickle.content", f"it is a {type(tree).__name__}")
    tensors: dict[str, Tensor] = {}
    unread: dict[str, UnreadObject] = {}
    for count, (path, value) in enumerate(_walk(tree, "", 0)):
        if count > OBJECTS:
            raise refuse("pickle.size", f"it has more than {OBJECTS:,} branches")
        if isinstance(value, InertPlaceholder):
            unread[path] = _unread_object(value)
        elif value is not None and path in tensors:
            raise refuse("tensor.name", f"{path} occurs twice")
        elif value is not None:
            tensors[path] = value
    contents = FileContents(
        tensors,
        metadata,
        training,
        unread,
        objects=tuple(sorted(_objects(tree))),
        settings=list(_settings(tree)),
        architectures=_architectures(tree),
    )
    if not tensors:
        contents.refuse_unread(
            name for name, item in unread.items() if not name or item.tensors or item.reason != "pickle.global"
        )
        raise refuse("pickle.content", f"it is a {type(tree).__name__} without tensors")
    return contents


def _objects(tree: Any) -> set[str]:
    """The names of the classes of all objects that are not read, apart from plain data."""
    kinds = {item if isinstance(item, type) else type(item) for item in nested(tree)}
    return {kind.name for kind in kinds if issubclass(kind, InertPlaceholder) and not is_plain(kind.name)} - {""}


def _settings(tree: Any) -> Iterator[tuple[str, object]]:
    """Names and values of the options in dictionaries and objects; a class is given by its name."""
    for branch in nested(tree):
        for key, value in dict.items(branch) if isinstance(branch, dict) else ():
            value = _option_value(value)
            if isinstance(key, str) and (value is None or isinstance(value, str | int | float)):
                yield key, value


def _option_value(value: Any) -> Any:
    """The value of an option: of a class its name, of a node of OmegaConf the value in it."""
    if isinstance(value, type) and issubclass(value, InertPlaceholder):
        return value.name
    states = value.content if isinstance(value, InertPlaceholder) else ()
    return next((state["_val"] for state in states if isinstance(state, dict) and "_val" in state), value)


def _unread_object(placeholder: InertPlaceholder) -> UnreadObject:
    inside = [item for item in nested(placeholder) if isinstance(item, Tensor | InertPlaceholder)]
    names = [item.name for item in inside if isinstance(item, InertPlaceholder)]
    is_module = any(name.startswith("torch.nn.modules.") for name in names)
    reason = "pickle.module" if is_module and placeholder.reason == "pickle.global" else placeholder.reason
    return UnreadObject(placeholder.name, reason, len(inside) - len(names))


def _walk(tree: Any, path: str, depth: int) -> Iterator[tuple[str, Tensor | InertPlaceholder | None]]:
    if depth > DEPTH:
        raise refuse("pickle.depth", f"{path[:200]} is more than {DEPTH} levels deep")
    if len(path) > NAME:
        raise refuse("tensor.name", path)
    tree = (tree.tensor or tree.unread) if isinstance(tree, ArrayPlaceholder) else tree
    yield path, tree if isinstance(tree, Tensor | InertPlaceholder) else None
    for key, branch in _branches(tree):
        yield from _walk(branch, f"{path}/{key}" if path else str(key), depth + 1)


def _branches(tree: Any) -> Iterable[tuple[Any, Any]]:
    """The items of a dictionary or of a list of pairs; and the dictionaries and tensors in a list, by their indices.

    Ray's tutorials save a state dict and that of the optimizer as a tuple; older scripts the items of one as a list.
    """
    if isinstance(tree, dict):
        return dict.items(tree)
    if not isinstance(tree, list | tuple):
        return ()
    if tree and all(isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str) for item in tree):
        return tree
    return ((index, item) for index, item in enumerate(tree) if isinstance(item, dict | Tensor | ArrayPlaceholder))


def _architectures(tree: Any, path: str = "", depth: int = 0) -> dict[str, str]:
    """The JSON of the architectures that se_torch adds to the `_metadata` of state dicts, which has module versions.

    Args:
        tree: The unpickled tree; at most two levels of it are searched.
        path: The keys that lead to it.
        depth: Their number.

    Returns:
        The JSON by the prefix of the network's tensors.

    Raises:
        WeightsError: An architecture cannot be written as JSON, or is too large.
    """
    found: dict[str, str] = {}
    if depth > 2:
        return found
    modules = getattr(tree, "_metadata", None)
    for module, metadata in modules.items() if isinstance(modules, dict) else ():
        if isinstance(metadata, dict) and isinstance(metadata.get("architecture"), dict):
            found[f"{path}{module}." if module else path] = _encode(metadata["architecture"])
    for key, branch in _branches(tree):
        found |= _architectures(branch, f"{path}{key}/", depth + 1)
    return found


def _encode(config: dict[Any, Any]) -> str:
    """The JSON of a config, encoded step by step: objects that are referred to many times make it endless."""
    try:
        parts = list(islice(json.JSONEncoder().iterencode(config), CONFIG))
    except (TypeError, ValueError, RecursionError) as error:
        raise refuse("metadata.json", f"the config of its architecture is not valid: {error}") from error
    if len(parts) == CONFIG:
        raise refuse("metadata.json", "the config of its architecture is too large")
    return "".join(parts)
