"""Writes the pickle in a `.pth` file, a state dict whose tensors refer to storages, without torch.

Only the opcodes are written that torch.save itself uses for an OrderedDict of contiguous tensors (protocol 2).
"""

import struct
from collections.abc import Iterator, Mapping
from math import prod
from pickle import (
    BININT,
    BINPERSID,
    BINUNICODE,
    EMPTY_TUPLE,
    GLOBAL,
    LONG1,
    MARK,
    NEWFALSE,
    PROTO,
    REDUCE,
    SETITEMS,
    STOP,
    TUPLE,
)

Tensors = Mapping[str, tuple[str, tuple[int, ...]]]
"""The storage type and the shape of each tensor by name; the values of the n-th tensor are the storage n."""


def pickle_state_dict(tensors: Tensors) -> bytes:
    """The pickle of a state dict."""
    return PROTO + b"\x02" + _empty_dict() + MARK + b"".join(_items(tensors)) + SETITEMS + STOP


def _items(tensors: Tensors) -> Iterator[bytes]:
    for key, (name, (storage, shape)) in enumerate(tensors.items()):
        count = prod(shape)
        reference = _tuple(_text("storage"), _global("torch", storage), _text(str(key)), _text("cpu"), _integer(count))
        strides = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
        arguments = _tuple(
            reference + BINPERSID,
            _integer(0),
            _tuple(*map(_integer, shape)),
            _tuple(*map(_integer, strides)),
            NEWFALSE,
            _empty_dict(),
        )
        yield _text(name) + _global("torch._utils", "_rebuild_tensor_v2") + arguments + REDUCE


def _empty_dict() -> bytes:
    return _global("collections", "OrderedDict") + EMPTY_TUPLE + REDUCE


def _global(module: str, name: str) -> bytes:
    return GLOBAL + f"{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    encoded = text.encode()
    return BINUNICODE + struct.pack("<I", len(encoded)) + encoded


def _integer(value: int) -> bytes:
    if value < 2**31:
        return BININT + struct.pack("<i", value)
    encoded = value.to_bytes(9, "little", signed=True)
    return LONG1 + bytes([len(encoded)]) + encoded


def _tuple(*items: bytes) -> bytes:
    return MARK + b"".join(items) + TUPLE
