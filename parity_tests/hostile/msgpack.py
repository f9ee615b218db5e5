"""Cases 99 to 106: msgpack files of Flax."""

from collections.abc import Callable
from functools import partial
from typing import Any

import msgpack as library
import numpy as np

from parity_tests.hostile.case import Case, Make, accepted, corrupted

Tree = dict[str, Any]
ARRAY = 1


def tree(content: bytes) -> Tree:
    """The tree in a file, with its arrays still packed."""
    return library.unpackb(content, strict_map_key=False)


def packed(shape: object, dtype: object, values: object) -> library.ExtType:
    return library.ExtType(ARRAY, library.packb((shape, dtype, values)))


def bias(make: Callable[[np.ndarray], object]) -> Make:
    """The valid tree, with what `make` returns for the values of fc/bias in place of that array."""

    def change(content: bytes) -> bytes:
        found = tree(content)
        _, _, values = library.unpackb(found["fc"]["bias"].data)
        found["fc"]["bias"] = make(np.frombuffer(values, "<f4"))
        return library.packb(found)

    return corrupted(".msgpack", change)


def declared(shape: object, dtype: object = "float32") -> Make:
    return bias(lambda values: packed(shape, dtype, values.tobytes()))


def with_item(item: bytes) -> Make:
    """The valid tree with a further item at its root, whose key and value are packed already."""

    def change(content: bytes) -> bytes:
        found = tree(content)
        packer = library.Packer()
        items = b"".join(library.packb(part) for pair in found.items() for part in pair)
        return packer.pack_map_header(len(found) + 1) + items + item

    return corrupted(".msgpack", change)


def chunked(shape: object, **chunks: slice) -> Make:
    """fc/bias in chunks: `c0=slice(0, 3)` is the chunk "0", with these of its values."""

    def make(values: np.ndarray) -> Tree:
        parts = {key[1:]: values[part] for key, part in chunks.items()}
        return {
            "__msgpack_chunked_array__": True,
            "shape": shape,
            "chunks": {key: packed(part.shape, "float32", part.tobytes()) for key, part in parts.items()},
        }

    return bias(make)


def nested(levels: int) -> bytes:
    return b"\x81\xa1a" * levels + library.packb(packed((1,), "float32", bytes(4)))


FIRST, SECOND = slice(0, 3), slice(3, 5)
FIVE = {"0": 5}
A = library.packb("a")
SPARE = library.packb(packed((5,), "float32", bytes(20)))

of_bias = partial(Case, says="fc/bias")
"""A case whose error message names fc/bias."""

CASES = (
    Case("99", "bytes behind the tree", corrupted(".msgpack", lambda content: content + b"\xc0"), 3, "msgpack.damaged"),
    Case("100a", "maps of 100,000 levels", with_item(A + nested(10**5)), 3, "msgpack.depth"),
    Case("100b", "maps of 70 levels", with_item(A + nested(70)), 3, "msgpack.depth"),
    Case("100c", "arrays of 100,000 levels", with_item(A + b"\x91" * 10**5 + b"\xc0"), 3, "msgpack.array"),
    Case("100d", "a map of four billion", with_item(A + b"\xdf\xff\xff\xff\xff"), 3, "msgpack.damaged"),
    Case("100e", "an array of four gigabytes", with_item(A + b"\xc9\xff\xff\xff\xff\1"), 3, "msgpack.damaged"),
    Case(
        "101a",
        "an extension of another program",
        bias(lambda values: library.ExtType(42, b"abc")),
        3,
        "msgpack.extension",
    ),
    Case("101b", "a date", bias(lambda values: library.Timestamp(0)), 3, "msgpack.extension"),
    of_bias("102a", "a side of -1, which numpy would work out", declared((-1,)), 3, "tensor.shape"),
    of_bias("102b", "a side that is a text", declared(("5",)), 3, "tensor.shape"),
    of_bias("102c", "a shape of 33 axes", declared((5, *[1] * 32)), 3, "tensor.shape"),
    of_bias("103a", "an array of objects", bias(lambda values: packed((5,), "object", bytes(40))), 5, "tensor.type"),
    of_bias("103b", "an array of bytes without a meaning", declared((5,), "V4"), 5, "tensor.type"),
    of_bias("103c", "a type that is none", declared((5,), "float31"), 5, "tensor.type"),
    of_bias("103d", "a type that is a number", declared((5,), 4), 5, "tensor.type"),
    of_bias(
        "103e",
        "an array of two parts",
        bias(lambda values: library.ExtType(ARRAY, library.packb([[5], "float32"]))),
        3,
        "msgpack.array",
    ),
    of_bias(
        "103f", "an array that is no msgpack", bias(lambda values: library.ExtType(ARRAY, b"\xc1")), 3, "msgpack.array"
    ),
    of_bias(
        "104a",
        "fewer bytes than the shape needs",
        bias(lambda values: packed((5,), "float32", bytes(16))),
        3,
        "tensor.size",
    ),
    of_bias("104b", "terabytes declared over 20 bytes", declared((2**40,)), 3, "tensor.size"),
    accepted("105a", "chunks in another order", chunked(FIVE, c1=SECOND, c0=FIRST)),
    of_bias("105b", "a chunk that is missing", chunked(FIVE, c0=FIRST), 3, "msgpack.chunks"),
    of_bias("105c", "a chunk too many", chunked(FIVE, c0=FIRST, c1=SECOND, c2=SECOND), 3, "msgpack.chunks"),
    of_bias("105d", "chunks numbered 0 and 2", chunked(FIVE, c0=FIRST, c2=SECOND), 3, "msgpack.chunks"),
    of_bias(
        "105e", "chunks of a shape with a side of -1", chunked({"0": -1}, c0=FIRST, c1=SECOND), 3, "msgpack.chunks"
    ),
    of_bias("105f", "chunks of terabytes", chunked({"0": 2**40}, c0=FIRST, c1=SECOND), 3, "msgpack.chunks"),
    of_bias(
        "105g",
        "chunks that are a number",
        bias(lambda values: {"__msgpack_chunked_array__": True, "shape": FIVE, "chunks": 2}),
        3,
        "msgpack.chunks",
    ),
    Case(
        "106a", "a key twice", with_item(library.packb("fc") + library.packb({"bias": 1})), 3, "msgpack.key", says="fc"
    ),
    Case("106b", "a number for a key", with_item(library.packb(7) + SPARE), 3, "weights.mismatch", says="+ 7 (5,)"),
    Case("106c", "bytes for a key", with_item(library.packb(b"\xff") + SPARE), 3, "msgpack.key"),
    of_bias("106d", "a text where an array belongs", bias(lambda values: "five"), 3, "msgpack.array"),
)
