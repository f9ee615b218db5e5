"""Writes pickles opcode by opcode: as `torch.save` writes them, and as it never would."""

import pickle as op
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from parity_tests.hostile.archive import Record, archive
from parity_tests.hostile.case import Make, ValidFiles, Weights, file_with


def global_name(module: str, attribute: str) -> bytes:
    return op.GLOBAL + f"{module}\n{attribute}\n".encode()


def text(value: str) -> bytes:
    encoded = value.encode()
    return op.BINUNICODE + struct.pack("<I", len(encoded)) + encoded


def number(value: int) -> bytes:
    encoded = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return op.LONG1 + bytes([len(encoded)]) + encoded


def tuple_of(*items: bytes) -> bytes:
    return op.MARK + b"".join(items) + op.TUPLE


def int_tuple(numbers: Iterable[int]) -> bytes:
    return tuple_of(*map(number, numbers))


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + tuple_of(*arguments) + op.REDUCE


def new_object(kind: bytes, state: bytes) -> bytes:
    """An object made by NEWOBJ and BUILD: without a call of its constructor, with this state."""
    return kind + op.EMPTY_TUPLE + op.NEWOBJ + state + op.BUILD


def text_dict(items: Mapping[str, bytes]) -> bytes:
    return dict_of((text(key), value) for key, value in items.items())


def dict_of(items: Iterable[tuple[bytes, bytes]]) -> bytes:
    return op.EMPTY_DICT + op.MARK + b"".join(key + value for key, value in items) + op.SETITEMS


def pickle_of(tree: bytes, protocol: int = 2) -> bytes:
    return op.PROTO + bytes([protocol]) + tree + op.STOP


ORDERED = call(global_name("collections", "OrderedDict"))
REBUILD = global_name("torch._utils", "_rebuild_tensor_v2")


@dataclass(frozen=True)
class View:
    """A tensor as torch pickles it: a strided view of a storage.

    Attributes:
        key: Key of the storage.
        count: Number of values that the storage is declared to have.
        shape: Shape of the tensor.
        stride: Strides in values.
        offset: Offset of the first value in the storage.
        storage: Class of the storage, which gives the dtype.
    """

    key: str
    count: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int = 0
    storage: str = "FloatStorage"

    @property
    def reference(self) -> bytes:
        kind = global_name("torch", self.storage)
        return tuple_of(text("storage"), kind, text(self.key), text("cpu"), number(self.count)) + op.BINPERSID

    @property
    def pickled(self) -> bytes:
        layout = int_tuple(self.shape), int_tuple(self.stride)
        return call(REBUILD, self.reference, number(self.offset), *layout, op.NEWFALSE, ORDERED)

    def but(self, **changes: object) -> "View":
        return replace(self, **changes)


def views(weights: Weights) -> dict[str, View]:
    """A view for each array, all of its own storage; the storages are numbered in order."""
    return {
        name: View(str(key), array.size, array.shape, tuple(prod(array.shape[i + 1 :]) for i in range(array.ndim)))
        for key, (name, array) in enumerate(weights.items())
    }


def storages(weights: Weights) -> dict[str, bytes]:
    return {str(key): array.tobytes() for key, array in enumerate(weights.values())}


def torch_file(pickle: bytes, stored: Mapping[str, bytes], root: str = "archive") -> list[Record]:
    """The records of an archive as torch.save writes it."""
    records = {
        "data.pkl": pickle,
        "byteorder": b"little",
        **{f"data/{key}": content for key, content in stored.items()},
        "version": b"3\n",
    }
    return [Record(f"{root}/{name}", content) for name, content in records.items()]


def state(valid: ValidFiles) -> dict[str, bytes]:
    """The valid tensors, each pickled, by name."""
    return {key: view.pickled for key, view in views(valid.weights).items()}


def with_entries(**more: bytes) -> Make:
    """A training checkpoint: the valid weights under `state_dict`, and these further entries."""
    return pickled(lambda valid: text_dict({"state_dict": text_dict(state(valid)), **more}))


def pickled(tree: Callable[[ValidFiles], bytes], protocol: int = 2) -> Make:
    """A torch file with the valid storages and a pickle of this object."""
    return raw(lambda valid: pickle_of(tree(valid), protocol))


def raw(pickle: Callable[[ValidFiles], bytes]) -> Make:
    """A torch file with the valid storages and these bytes as its pickle."""
    return file_with("weights.pth", lambda valid: archive(torch_file(pickle(valid), storages(valid.weights))))


def viewed(tensor: str, **changes: object) -> Make:
    """The valid file with changes in the view of one tensor."""

    def tree(valid: ValidFiles) -> bytes:
        found = views(valid.weights)
        return text_dict({key: view.pickled for key, view in (found | {tensor: found[tensor].but(**changes)}).items()})

    return pickled(tree)


def by_torch(state: Callable[[Any, dict[str, Any]], object], **options: object) -> Make:
    """A file that torch itself saves; `state` makes the state dict from the torch module and the valid tensors."""

    def make(folder: Path, valid: ValidFiles) -> Path:
        import torch

        tensors = {key: torch.tensor(array) for key, array in valid.weights.items()}
        torch.save(state(torch, tensors), folder / "weights.pth", **options)
        return folder / "weights.pth"

    return make
