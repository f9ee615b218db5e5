"""Pickles written instruction by instruction, as `torch.save` writes them and as it never would."""

import pickle as op
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from parity_tests.hostile.archive import Record, archive
from parity_tests.hostile.case import Good, Make, Weights, saved


def name(module: str, attribute: str) -> bytes:
    return op.GLOBAL + f"{module}\n{attribute}\n".encode()


def text(value: str) -> bytes:
    encoded = value.encode()
    return op.BINUNICODE + struct.pack("<I", len(encoded)) + encoded


def number(value: int) -> bytes:
    encoded = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return op.LONG1 + bytes([len(encoded)]) + encoded


def row(*items: bytes) -> bytes:
    return op.MARK + b"".join(items) + op.TUPLE


def rows(numbers: Iterable[int]) -> bytes:
    return row(*map(number, numbers))


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + row(*arguments) + op.REDUCE


def made(kind: bytes, state: bytes) -> bytes:
    """An object as pickle makes it anew: without a call, and then given its state."""
    return kind + op.EMPTY_TUPLE + op.NEWOBJ + state + op.BUILD


def mapping(items: Mapping[str, bytes]) -> bytes:
    return keyed((text(key), value) for key, value in items.items())


def keyed(items: Iterable[tuple[bytes, bytes]]) -> bytes:
    return op.EMPTY_DICT + op.MARK + b"".join(key + value for key, value in items) + op.SETITEMS


def whole(tree: bytes, protocol: int = 2) -> bytes:
    return op.PROTO + bytes([protocol]) + tree + op.STOP


ORDERED = call(name("collections", "OrderedDict"))
REBUILD = name("torch._utils", "_rebuild_tensor_v2")


@dataclass(frozen=True)
class View:
    """A tensor as torch pickles it: a part of a storage, of `count` values of this type."""

    key: str
    count: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int = 0
    storage: str = "FloatStorage"

    @property
    def reference(self) -> bytes:
        kind = name("torch", self.storage)
        return row(text("storage"), kind, text(self.key), text("cpu"), number(self.count)) + op.BINPERSID

    @property
    def pickled(self) -> bytes:
        sides = rows(self.shape), rows(self.stride)
        return call(REBUILD, self.reference, number(self.offset), *sides, op.NEWFALSE, ORDERED)

    def but(self, **changes: object) -> "View":
        return replace(self, **changes)


def views(weights: Weights) -> dict[str, View]:
    """Each array in a storage of its own, numbered in order."""
    return {
        name: View(str(key), array.size, array.shape, tuple(prod(array.shape[i + 1 :]) for i in range(array.ndim)))
        for key, (name, array) in enumerate(weights.items())
    }


def storages(weights: Weights) -> dict[str, bytes]:
    return {str(key): array.tobytes() for key, array in enumerate(weights.values())}


def torch_file(pickle: bytes, stored: Mapping[str, bytes], root: str = "archive") -> list[Record]:
    """The records that torch.save writes."""
    records = {
        "data.pkl": pickle,
        "byteorder": b"little",
        **{f"data/{key}": content for key, content in stored.items()},
        "version": b"3\n",
    }
    return [Record(f"{root}/{name}", content) for name, content in records.items()]


def state(good: Good) -> dict[str, bytes]:
    """The good tensors, each pickled."""
    return {key: view.pickled for key, view in views(good.weights).items()}


def with_entries(**more: bytes) -> Make:
    """A training checkpoint: the good weights under `state_dict`, and more beside them."""
    return pickled(lambda good: mapping({"state_dict": mapping(state(good)), **more}))


def pickled(tree: Callable[[Good], bytes], protocol: int = 2) -> Make:
    """A torch file of the good storages, and of this tree of them."""
    return raw(lambda good: whole(tree(good), protocol))


def raw(pickle: Callable[[Good], bytes]) -> Make:
    """A torch file of the good storages, and of this pickle."""
    return saved("weights.pth", lambda good: archive(torch_file(pickle(good), storages(good.weights))))


def viewed(tensor: str, **changes: object) -> Make:
    """The good file, with one tensor that lies otherwise in its storage."""

    def tree(good: Good) -> bytes:
        found = views(good.weights)
        return mapping({key: view.pickled for key, view in (found | {tensor: found[tensor].but(**changes)}).items()})

    return pickled(tree)


def by_torch(state: Callable[[Any, dict[str, Any]], object], **options: object) -> Make:
    """What torch itself saves of a state_dict that is made with torch from the good tensors."""

    def make(folder: Path, good: Good) -> Path:
        import torch

        tensors = {key: torch.tensor(array) for key, array in good.weights.items()}
        torch.save(state(torch, tensors), folder / "weights.pth", **options)
        return folder / "weights.pth"

    return make
