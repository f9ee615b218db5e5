"""Cases 93 to 98: npz files, numpy arrays in a zip archive."""

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from parity_tests.hostile.archive import DEFLATED, Record, archive, bomb, comment, records
from parity_tests.hostile.case import Case, Make, ValidFiles, accepted, corrupted

FLOATS = {"descr": "<f4", "fortran_order": False, "shape": (5,)}


def npy(header: object, content: bytes) -> bytes:
    """An npy array with this header, which need not be a dictionary."""
    text = header if isinstance(header, str) else repr(header)
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text) + 1) + text.encode() + b"\n" + content


def rebuilt(change: Callable[[list[Record]], list[Record]]) -> Make:
    return corrupted(".npz", lambda content: archive(change(records(content)), comment(content)))


def bias(**changes: object) -> Make:
    """The valid file, with another record for fc.bias."""
    return rebuilt(
        lambda found: [replace(record, **changes) if record.name == "fc.bias.npy" else record for record in found]
    )


def declared(content: bytes = bytes(20), **changes: object) -> Make:
    return bias(content=npy(FLOATS | changes, content))


def by_numpy(array: Callable[[np.ndarray], np.ndarray], name: str = "") -> Make:
    """A file that numpy saves, with `array` applied to all valid arrays, or to the one of this name."""

    def make(folder: Path, valid: ValidFiles) -> Path:
        arrays = {key: array(values) if name in ("", key) else values for key, values in valid.weights.items()}
        np.savez(folder / "weights.npz", **arrays)
        return folder / "weights.npz"

    return make


def objects(values: np.ndarray) -> np.ndarray:
    return values.astype(object)


def pairs(values: np.ndarray) -> np.ndarray:
    return values.view([("low", "<u2"), ("high", "<u2")])


def also(name: str) -> Make:
    """The valid file with a second record of fc.bias under this name."""
    return rebuilt(
        lambda found: [*found, *(replace(record, name=name) for record in found if record.name == "fc.bias.npy")]
    )


def exploding(found: list[Record]) -> list[Record]:
    """fc.bias as 600 megabytes of zeros with a valid header."""
    head = npy(FLOATS | {"shape": (600 * 2**20 // 4,)}, b"")
    return [replace(record, **bomb(600, head)) if record.name == "fc.bias.npy" else record for record in found]


CALL = "__import__('os').system('touch ran')"

CASES = (
    Case("93a", "an array of objects", by_numpy(objects, "fc.bias"), 4, "npz.object", says="fc.bias"),
    Case(
        "93b",
        "an array of objects that would run something",
        declared(b"cos\nsystem\n(S'touch ran'\ntR.", descr="|O"),
        4,
        "npz.object",
        says="fc.bias",
    ),
    Case(
        "94a",
        "a header of 60,000 bytes",
        bias(content=npy(repr(FLOATS) + " " * 60_000, bytes(20))),
        3,
        "npz.header",
        says="fc.bias",
    ),
    Case("94b", "a header that calls", bias(content=npy(CALL, bytes(20))), 3, "npz.header", says="fc.bias"),
    Case(
        "94c", "a header of 5,000 brackets", bias(content=npy("(" * 5000, bytes(20))), 3, "npz.header", says="fc.bias"
    ),
    Case("94d", "a record that is no array", bias(content=b"five"), 3, "npz.header", says="fc.bias"),
    Case(
        "94e", "a header longer than the record", bias(content=npy(FLOATS, b"")[:40]), 3, "npz.header", says="fc.bias"
    ),
    Case("95a", "terabytes declared over 20 bytes", declared(shape=(2**40,)), 3, "tensor.size", says="fc.bias"),
    Case("95b", "the right shape over too few bytes", declared(bytes(16)), 3, "tensor.size", says="fc.bias"),
    Case("95c", "600 megabytes of zeros, well packed", rebuilt(exploding), 4, "file.bomb"),
    accepted("96a", "arrays in Fortran's order", by_numpy(np.asfortranarray)),
    accepted("96b", "arrays of big-endian values", by_numpy(lambda values: values.astype(">f4"))),
    Case("96c", "an array of pairs", by_numpy(pairs, "fc.bias"), 5, "tensor.type", says="fc.bias"),
    Case("96d", "an array of dates", declared(bytes(40), descr="<M8[s]"), 5, "tensor.type", says="fc.bias"),
    Case("97a", "two records of one name", also("fc.bias.npy"), 3, "zip.twice", says="fc.bias"),
    Case("97b", "two records that numpy gives one name", also("fc.bias"), 3, "file.other", says="fc.bias"),
    Case("98a", "a side of -1", declared(shape=(-1,)), 3, "tensor.shape", says="fc.bias"),
    Case("98b", "two negative sides of the right product", declared(shape=(-1, -5)), 3, "tensor.shape", says="fc.bias"),
    Case("98c", "33 axes", declared(shape=(5, *[1] * 32)), 3, "tensor.shape", says="fc.bias"),
    accepted(
        "98d",
        "records that are packed, as savez_compressed packs them",
        rebuilt(lambda found: [replace(record, method=DEFLATED) for record in found]),
    ),
)
