"""Finds the tensors, and the config of the architecture, in the tree that a pickle contains."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, repeat
from typing import Any

from se_weights.files.contents import FileContents, Tensor, UnreadObject
from se_weights.files.limits import CONFIG, DEPTH, NAME, OBJECTS
from se_weights.files.torch.inert_objects import InertPlaceholder, nested
from se_weights.files.torch.pickle_names import is_plain
from se_weights.files.torch.pickle_placeholders import ArrayPlaceholder
from se_weights.refusals import refuse

CONTAINERS = dict | list | tuple
SCALARS = str | int | float | None
VALUES = Tensor | ArrayPlaceholder | InertPlaceholder

NETWORKS, MODULES = 16, 10_000
"""Networks whose architectures a file may have, and modules of a network that are searched for them."""

STATES = 8
"""States and items of an object in which the value of an option is looked for."""


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
    budget = repeat(True, OBJECTS)
    for count, (path, value) in enumerate(_walk(tree, "", 0)):
        if count > OBJECTS:
            raise refuse("pickle.size", f"it has more than {OBJECTS:,} branches")
        if isinstance(value, InertPlaceholder):
            unread[path] = _unread_object(value, list(nested(value, budget)))
        elif value is not None and path in tensors:
            raise refuse("tensor.name", f"{path} occurs twice")
        elif value is not None:
            tensors[path] = value
    contents = FileContents(
        tensors,
        metadata,
        training,
        unread,
        objects=tuple(sorted(objects_in(tree))),
        settings=list(settings_in(tree)),
        architectures=dict(islice(_architectures(tree), NETWORKS)),
    )
    if not tensors:
        contents.refuse_unread(
            name for name, item in unread.items() if not name or item.tensors or item.reason != "pickle.global"
        )
        raise refuse("pickle.content", f"it is a {type(tree).__name__} without tensors")
    return contents


def objects_in(tree: Any) -> set[str]:
    """The names of the classes of all objects in an unpickled tree that are not read, apart from plain data."""
    kinds = {item if isinstance(item, type) else type(item) for item in nested(tree)}
    return {kind.name for kind in kinds if issubclass(kind, InertPlaceholder) and not is_plain(kind.name)} - {""}


def settings_in(tree: Any) -> Iterator[tuple[str, object]]:
    """Names and values of the options in the dictionaries and objects of a tree; a class is given by its name."""
    for branch in nested(tree):
        for key, value in dict.items(branch) if isinstance(branch, dict) else ():
            value = _option_value(value)
            few = isinstance(value, list | tuple) and len(value) <= STATES
            if isinstance(key, str) and all(isinstance(item, SCALARS) for item in (value if few else [value])):
                yield key, tuple(value) if few else value


def _option_value(value: Any) -> Any:
    """The value of an option: of a class its name, of a node of OmegaConf the value in it."""
    if isinstance(value, type) and issubclass(value, InertPlaceholder):
        return value.name
    states = value.content[:STATES] if isinstance(value, InertPlaceholder) else ()
    return next((state["_val"] for state in states if isinstance(state, dict) and "_val" in state), value)


def _unread_object(placeholder: InertPlaceholder, content: Sequence[Any]) -> UnreadObject:
    names = [item.name for item in content if isinstance(item, InertPlaceholder)]
    is_module = any(name.startswith("torch.nn.modules.") for name in names)
    reason = "pickle.module" if is_module and placeholder.reason == "pickle.global" else placeholder.reason
    return UnreadObject(placeholder.name, reason, sum(isinstance(item, Tensor) for item in content))


def _walk(tree: Any, path: str, depth: int) -> Iterator[tuple[str, Tensor | InertPlaceholder | None]]:
    if depth > DEPTH:
        raise refuse("pickle.depth", f"{path[:200]} is more than {DEPTH} levels deep")
    if len(path) > NAME:
        raise refuse("tensor.name", path)
    tree = (tree.tensor or tree.unread) if isinstance(tree, ArrayPlaceholder) else tree
    yield path, tree if isinstance(tree, Tensor | InertPlaceholder) else None
    for key, branch in _branches(tree):
        in_root_list = not path and isinstance(tree, list | tuple) and type(key) is int  # whose tensors have no names
        if isinstance(branch, CONTAINERS) or (isinstance(branch, VALUES) and not in_root_list):
            yield from _walk(branch, f"{path}/{key}" if path else str(key), depth + 1)
        else:
            yield path, None  # so that it is counted


def _branches(tree: Any) -> Iterable[tuple[Any, Any]]:
    """The items of a dictionary or of a list of pairs; and those of another list, by their indices.

    Ray's tutorials save a state dict and that of the optimizer as a tuple; older scripts the items of one as a list.
    """
    if isinstance(tree, dict):
        return dict.items(tree)
    if not isinstance(tree, list | tuple):
        return ()
    return map(_pair, enumerate(tree))


def _pair(numbered: tuple[int, Any]) -> tuple[Any, Any]:
    """A key and a branch: of an item of a list that is such a pair itself, or else its index and the item."""
    match numbered:
        case _, (str(key), Tensor() | ArrayPlaceholder() as branch):
            return key, branch
        case _:
            return numbered


def _architectures(tree: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """The architectures that se_torch adds to the `_metadata` of state dicts, where torch has module versions.

    Args:
        tree: The unpickled tree; at most two levels of it are searched.
        path: The keys that lead to it.
        depth: Their number.

    Yields:
        The prefix of a network's tensors, and the JSON of its architecture.

    Raises:
        WeightsError: An architecture cannot be written as JSON, or is too large.
    """
    modules = getattr(tree, "_metadata", None)
    for module, metadata in islice(modules.items(), MODULES) if isinstance(modules, dict) else ():
        if isinstance(metadata, dict) and isinstance(metadata.get("architecture"), dict):
            yield f"{path}{module}." if module else path, _encode(metadata["architecture"])
    for key, branch in _branches(tree) if depth < 2 else ():
        yield from _architectures(branch, f"{path}{key}/", depth + 1)


def _encode(config: dict[Any, Any]) -> str:
    """The JSON of a config, encoded step by step: objects that are referred to many times make it endless."""
    try:
        parts = list(islice(json.JSONEncoder().iterencode(config), CONFIG))
    except (TypeError, ValueError, RecursionError) as error:
        raise refuse("metadata.json", f"the config of its architecture is not valid: {error}") from error
    if len(parts) == CONFIG:
        raise refuse("metadata.json", "the config of its architecture is too large")
    return "".join(parts)
