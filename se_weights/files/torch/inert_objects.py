"""Placeholders for what a pickle names and that is not read. They run nothing, and give no weights."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Self

from se_weights.refusals import refuse


class AllowedFunction:
    """A function that a pickle may call, but not change: the opcode BUILD would set attributes of the function."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise refuse("pickle.damaged", "it sets attributes of a function")


class InertPlaceholder:
    """A placeholder for an object that is not read: it runs nothing, and no weights are taken from it.

    The unpickler makes a subclass for each name, so that what a file contains can be listed. The arguments, the state
    and the items of the object are kept only to tell how many tensors are lost with it.

    Attributes:
        name: The name of the object's class or function.
        reason: The id of the refusal if the weights depend on such an object.
    """

    name = ""
    reason = "pickle.global"
    content: list[Any]

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        placeholder = super().__new__(cls)
        placeholder.content = [arguments, options]
        return placeholder

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Does nothing: the arguments are kept already."""

    def __call__(self, *arguments: Any) -> "InertPlaceholder":
        self.content.append(arguments)
        return self

    def __setstate__(self, state: Any) -> None:
        self.content.append(state)

    def append(self, item: Any) -> None:
        """Takes an item, as a list does."""
        self.content.append(item)

    def extend(self, items: Any) -> None:
        """Takes items, as a list does."""
        self.content.append(items)

    def add(self, item: Any) -> None:
        """Takes an item, as a set does."""
        self.content.append(item)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.content.append({key: value})


class TensorClass(InertPlaceholder):
    """A placeholder for torch's own classes of tensors, which hold the values alone."""


class IndirectCall(InertPlaceholder):
    """A placeholder for `functools.partial` and `getattr`, which may only refer to data and to other placeholders."""

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        _check_inert(cls.name, [arguments, options])
        return super().__new__(cls, *arguments, **options)

    def __setstate__(self, state: Any) -> None:
        _check_inert(self.name, state)
        super().__setstate__(state)


def _check_inert(name: str, content: Any) -> None:
    for item in nested(content):
        if isinstance(item, AllowedFunction) or (isinstance(item, type) and not issubclass(item, InertPlaceholder)):
            raise refuse("pickle.global", f"{name} of a function")


def nested(content: Any, budget: Iterator[object] | None = None) -> Iterator[Any]:
    """The object and all in it: in lists, dictionaries and placeholders.

    Args:
        content: The object.
        budget: Gives something for each reference that is followed. Where several objects are searched, one budget for
            all bounds the time: they may hold the same large list.

    Yields:
        Each object once, however often it is referred to.

    Raises:
        WeightsError: The budget is used up.
    """
    stack, seen = [content], set()
    while stack:
        item = stack.pop()
        if budget is not None and next(budget, None) is None:
            raise refuse("pickle.size", "its objects refer to one another too often")
        if id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        match item:
            case InertPlaceholder():
                stack += item.content
            case dict():
                stack += [*dict.keys(item), *dict.values(item)]
            case list() | tuple() | set() | frozenset():
                stack += item


@lru_cache(maxsize=1000)
def inert_class(name: str, reason: str, base: type[InertPlaceholder] = InertPlaceholder) -> type[InertPlaceholder]:
    """A class of placeholders.

    Args:
        name: The name of what it replaces.
        reason: The id of the refusal if the weights depend on such an object.
        base: Its base class.
    """
    return type("InertPlaceholder", (base,), {"name": name, "reason": reason})
