"""Cases 25 to 43: safetensors files."""

import json
import struct
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from parity_tests.hostile.case import Case, Make, ValidFiles, accepted, corrupted, file_with

Header = dict[str, Any]
SPARSE = 99 * 10**6
NAMES = {"f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i4": "I32", "i1": "I8"}


def split_file(content: bytes) -> tuple[Header, bytes]:
    """The header of a file, and the bytes of its tensors."""
    (length,) = struct.unpack_from("<Q", content)
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join_file(header: Header | str | bytes, tensors: bytes, length: int | None = None) -> bytes:
    text = json.dumps(header) if isinstance(header, dict) else header
    encoded = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(encoded) if length is None else length) + encoded + tensors


def safetensors_bytes(tensors: Mapping[str, NDArray], **metadata: str) -> bytes:
    """A valid file of these arrays."""
    header: Header = {"__metadata__": metadata} if metadata else {}
    body = b""
    for name, array in tensors.items():
        span = [len(body), len(body) + array.nbytes]
        header[name] = {"dtype": NAMES[array.dtype.str[1:]], "shape": list(array.shape), "data_offsets": span}
        body += array.tobytes()
    return join_file(header, body)


def changed(change: Callable[[Header], object]) -> Make:
    """The valid file with changes in its header."""

    def rebuilt(content: bytes) -> bytes:
        header, tensors = split_file(content)
        change(header)
        return join_file(header, tensors)

    return corrupted(".safetensors", rebuilt)


def entry(**changes: object) -> Make:
    """The valid file with changes in the entry of fc.bias, which has 20 bytes."""
    return changed(lambda header: header["fc.bias"].update(changes))


def offsets(begin: object, end: object) -> Make:
    return entry(data_offsets=[begin, end])


def shifted(begin: int, end: int) -> Make:
    """The valid file with begin and end of fc.bias moved by this many bytes."""

    def change(header: Header) -> None:
        here, there = header["fc.bias"]["data_offsets"]
        header["fc.bias"]["data_offsets"] = [here + begin, there + end]

    return changed(change)


def text(change: Callable[[str], str | bytes]) -> Make:
    """The valid file with changes in the text of its header."""

    def rebuilt(content: bytes) -> bytes:
        header, tensors = split_file(content)
        return join_file(change(json.dumps(header)), tensors)

    return corrupted(".safetensors", rebuilt)


def length(value: int) -> Make:
    return corrupted(".safetensors", lambda content: join_file(content[8:], b"", value))


def with_tensors(shapes: Mapping[str, tuple[int, ...]], dtype: str = "F32", itemsize: int = 4) -> Make:
    """The valid tensors, followed by others of zeros."""

    def rebuilt(content: bytes) -> bytes:
        header, tensors = split_file(content)
        for name, shape in shapes.items():
            span = [len(tensors), len(tensors) + prod(shape) * itemsize]
            header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": span}
            tensors += bytes(span[1] - span[0])
        return join_file(header, tensors)

    return corrupted(".safetensors", rebuilt)


def metadata(value: object) -> Make:
    return changed(lambda header: header.update(__metadata__=value))


def recorded(**settings: object) -> Make:
    """The valid file with other settings in the architecture of its metadata."""

    def change(header: Header) -> None:
        known = json.loads(header["__metadata__"]["architecture"])
        header["__metadata__"]["architecture"] = json.dumps(known | settings)

    return changed(change)


def sparse_header(folder: Path, valid: ValidFiles) -> Path:
    """A header of nearly 100 MB in a sparse file."""
    path = folder / "weights.safetensors"
    with path.open("wb") as file:
        file.write(join_file(b"{", b"", SPARSE))
        file.truncate(SPARSE + 8)
    return path


def many(count: int, size: int) -> Callable[[bytes], bytes]:
    """A file of tensors that all refer to the same few bytes."""
    one = json.dumps({"dtype": "U8", "shape": [size], "data_offsets": [0, size]}, separators=(",", ":"))
    return lambda content: join_file("{" + ",".join(f'"{name}":{one}' for name in range(count)) + "}", bytes(size))


COUNTERS = {
    f"{norm}.num_batches_tracked": ()
    for norm in ("bn1", *(f"layer{place}.bn{n}" for place in ("1.0", "2.0", "2.1", "3.0") for n in (1, 2, 3)))
}

CASES = (
    Case("25", "fewer than eight bytes", file_with("weights.safetensors", bytes(7)), 3, "safetensors.header"),
    Case("26", "a header longer than the file", length(200_000), 3, "safetensors.header"),
    Case("27a", "a header of 100,000,001 bytes", length(100_000_001), 3, "safetensors.header"),
    Case("27b", "a header of 99 megabytes of holes", sparse_header, 3, "safetensors.header"),
    Case("28a", "a header of 2^63 - 1 bytes", length(2**63 - 1), 3, "safetensors.header"),
    Case("28b", "a header of 2^64 - 1 bytes", length(2**64 - 1), 3, "safetensors.header"),
    Case(
        "29a",
        "half a surrogate pair in UTF-8",
        text(lambda header: header.encode().replace(b"fc.bias", b"fc\xed\xa0\x80")),
        3,
        "safetensors.header",
    ),
    Case(
        "29b",
        "half a surrogate pair in an escape",
        text(lambda header: header.replace("fc.bias", r"fc\ud800")),
        3,
        "tensor.name",
    ),
    Case("30", "a header that is no JSON", text(lambda header: header.replace(":", "=")), 3, "safetensors.header"),
    Case("31", "a header that begins with a space", text(lambda header: " " + header), 3, "safetensors.header"),
    Case(
        "32a",
        "a tensor's name twice",
        text(lambda header: header.replace("fc.bias", "fc.weight")),
        3,
        "safetensors.twice",
        says="fc.weight",
    ),
    Case(
        "32b",
        "metadata twice",
        text(lambda header: '{"__metadata__": {},' + header[1:]),
        3,
        "safetensors.twice",
    ),
    Case("33a", "two tensors that overlap", shifted(-4, 0), 3, "safetensors.offsets"),
    Case(
        "33b",
        "ten thousand tensors in the same bytes",
        corrupted(".safetensors", many(10**4, 4)),
        3,
        "safetensors.offsets",
    ),
    Case("34", "a hole between two tensors", shifted(4, 0), 3, "safetensors.offsets"),
    Case("35a", "a tensor that ends before it begins", offsets(40, 20), 3, "safetensors.header", says="fc.bias"),
    Case("35b", "a negative offset", offsets(-20, 0), 3, "safetensors.header", says="fc.bias"),
    Case("35c", "an offset that is a fraction", offsets(0.5, 20.5), 3, "safetensors.header", says="fc.bias"),
    Case("35d", "an offset that is a text", offsets("0", "20"), 3, "safetensors.header", says="fc.bias"),
    Case("35e", "an offset that is a truth", offsets(False, True), 3, "safetensors.header", says="fc.bias"),
    Case(
        "35f",
        "an offset of 1e3",
        text(lambda header: header.replace('"data_offsets": [0,', '"data_offsets": [0e3,')),
        3,
        "safetensors.header",
    ),
    Case(
        "36",
        "bytes that belong to no tensor",
        corrupted(".safetensors", lambda c: c + bytes(4)),
        3,
        "safetensors.offsets",
    ),
    Case("37a", "a shape of fewer values than there are bytes", entry(shape=[4]), 3, "tensor.size", says="fc.bias"),
    Case("37b", "a shape of terabytes, and 20 bytes", entry(shape=[2**40]), 3, "tensor.size", says="fc.bias"),
    Case("37c", "the right shape, and a type of twice the bytes", entry(dtype="F64"), 3, "tensor.size", says="fc.bias"),
    Case("38a", "a product of 2^64 + 20 bytes", entry(shape=[2**62 + 5]), 3, "tensor.size", says="fc.bias"),
    Case("38b", "a product of 2^66", entry(shape=[2**33, 2**33]), 3, "tensor.size", says="fc.bias"),
    Case("38c", "an axis of 2^64", entry(shape=[2**64]), 3, "safetensors.header", says="fc.bias"),
    Case("38d", "a shape of 33 axes", entry(shape=[5] + [1] * 32), 3, "tensor.shape", says="fc.bias"),
    Case("39a", "eight-bit floats", entry(dtype="F8_E4M3", shape=[20]), 5, "tensor.type", says="fc.bias"),
    Case("39b", "four-bit floats", entry(dtype="F4", shape=[40]), 5, "tensor.type", says="fc.bias"),
    Case("39c", "a type that is none", entry(dtype="X32"), 5, "tensor.type", says="fc.bias"),
    Case("40a", "metadata that are a list", metadata(["a"]), 3, "metadata.json"),
    Case("40b", "metadata with a number", metadata({"epoch": 3}), 3, "metadata.json", says="epoch"),
    Case("40c", "an architecture that is no JSON", metadata({"architecture": "{"}), 3, "metadata.json"),
    Case("40d", "an architecture of a billion blocks", recorded(depths=[10**9, 1, 1]), 3, "metadata.json"),
    Case("40e", "an architecture with negative widths", recorded(widths=[-8, 12, 16]), 3, "metadata.json"),
    Case(
        "41",
        "JSON of 100,000 levels",
        text(lambda header: '{"fc.bias":' + "[" * 10**5 + "]" * 10**5 + "}"),
        3,
        "safetensors.header",
    ),
    Case("42", "more tensors than any network has", corrupted(".safetensors", many(200_000, 0)), 3, "tensor.count"),
    accepted("43a", "tensors of rank 0 beside the norms", with_tensors(COUNTERS, "I64", 8)),
    Case(
        "43b",
        "an unexpected tensor of no values, which is read",
        with_tensors({"empty": (0, 3)}),
        3,
        "weights.mismatch",
        says="+ empty (0, 3)",
    ),
)
