"""Mutations that know the formats, so that they get past lengths and checksums to the content of a file.

`mutate_sample(sample, random)` is the entry point. A file is parsed by the format of its suffix, mutated, and written
again, in most cases with correct lengths and checksums.
"""

import io
import json
import pickletools
import re
import struct
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import Any

import msgpack

from fuzz.seeds import Sample

NUMBERS = (
    *(0, 1, 2, 3, 7, 8, 9, 63, 64, 65, 100, 127, 128, 255, 256, 1000, 4096, 65535, 65536, 100_001),
    *(2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30),
    *(-1, -2, -128, -(2**31), -(2**63), -(2**63) - 1),
)
STRINGS = (
    *("", ".", "..", "/", "../x", "C:", "a/b", "\0", "\n", "\x1b[31m", "\u202e", "\ud800", "é", "e" * 5000, "NaN"),
    *("conv1.weight", "layer1", "state_dict", "__metadata__", "dtype", "shape", "float32", "bfloat16", "<f4", "|O"),
    *("F32", "BF16", "F64", "F8_E4M3", "BOOL", "value", "params", "architecture", "dialect", "preprocessing"),
)
ODDITIES: tuple[Any, ...] = (
    *(None, True, False, 0.5, -0.0, 1e308, float("inf"), float("nan")),
    *(b"", b"x" * 40, [], {}, [[]], {"": {}}),
)
INTERESTING = (*NUMBERS, *STRINGS, *ODDITIES)

Change = Callable[[bytes, Random], bytes]


def mutate_sample(sample: Sample, random: Random) -> Sample:
    """The sample with one to three mutations."""
    files = dict(sample.files)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        name = random.choice(sorted(files))
        if len(files) > 1 and random.random() < 0.03:
            other = random.choice(sorted(files))
            files[name] = files[other]
        elif name != sample.opens and len(files) > 1 and random.random() < 0.03:
            del files[name]
        else:
            files[name] = mutate_file(name, files[name], random)
    return replace(sample, files=files)


def mutate_file(name: str, content: bytes, random: Random) -> bytes:
    """The content of a file, mutated by the format of its name, or byte by byte."""
    change: Change = mutate_bytes
    if random.random() < 0.8:
        change = next((change for suffix, change in BY_SUFFIX.items() if name.endswith(suffix)), mutate_bytes)
    with suppress(Exception):  # a file that is damaged already may not parse
        return change(content, random)
    return mutate_bytes(content, random)


# bytes


def mutate_bytes(content: bytes, random: Random) -> bytes:
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 4, 8))):
        random.choice(BYTE_MUTATIONS)(data, random)
    return bytes(data)


def _flip(data: bytearray, random: Random) -> None:
    if data:
        data[_place(data, random)] ^= 1 << random.randrange(8)


def _number(data: bytearray, random: Random) -> None:
    size = random.choice((1, 2, 4, 8))
    at = _place(data, random)
    value = random.choice(NUMBERS) % 256**size
    data[at : at + size] = value.to_bytes(size, random.choice(("little", "big")))


def _nudge(data: bytearray, random: Random) -> None:
    if data:
        at = _place(data, random)
        data[at] = (data[at] + random.choice((-8, -1, 1, 8))) % 256


def _truncate(data: bytearray, random: Random) -> None:
    del data[_place(data, random) :]


def _cut(data: bytearray, random: Random) -> None:
    at = _place(data, random)
    del data[at : at + random.choice((1, 2, 4, 8, 64, 1000))]


def _repeat(data: bytearray, random: Random) -> None:
    at = _place(data, random)
    data[at:at] = data[at : at + random.choice((1, 2, 8, 64, 1000))] * random.choice((1, 1, 2, 50))


def _splice(data: bytearray, random: Random) -> None:
    size = random.choice((1, 4, 8, 32, 200))
    source, target = _place(data, random), _place(data, random)
    data[target : target + size] = data[source : source + size]


BYTE_MUTATIONS = (_flip, _flip, _flip, _number, _number, _nudge, _truncate, _cut, _repeat, _splice)


def _place(data: bytes | bytearray, random: Random) -> int:
    """A random offset, in most cases near the beginning or the end, where the structure is."""
    if not data:
        return 0
    near = min(len(data), random.choice((16, 64, 512, 4096)))
    return random.choice((random.randrange(len(data)), random.randrange(near), len(data) - 1 - random.randrange(near)))


# trees: JSON, msgpack, literals


def mutate_tree(value: Any, random: Random) -> Any:
    """A tree of dictionaries and lists with one node mutated."""
    children = _children(value)
    if not children or random.random() < 0.15:
        return _node(value, random)
    key, child = random.choice(children)
    match random.randrange(10):
        case 0:
            children = [(other, inner) for other, inner in children if other != key]
        case 1:
            children.append((random.choice(STRINGS), random.choice((child, *INTERESTING))))
        case 2:
            children = [(random.choice((*STRINGS, 7)) if other == key else other, inner) for other, inner in children]
        case 3:
            other_child = random.choice(children)[1]
            children = [(other, other_child if other == key else inner) for other, inner in children]
        case _:
            children = [(other, mutate_tree(inner, random) if other == key else inner) for other, inner in children]
    return dict(children) if isinstance(value, dict) else type(value)(inner for _, inner in children)


def _children(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if type(value) in (list, tuple) else []


def _node(value: Any, random: Random) -> Any:
    """Another value for a node: close to the old one, or unrelated."""
    if isinstance(value, msgpack.ExtType) and random.random() < 0.9:
        return _extension(value, random)
    if isinstance(value, str) and random.random() < 0.3:
        with suppress(ValueError):
            return json.dumps(mutate_tree(json.loads(value), random))
    if isinstance(value, int) and random.random() < 0.5:
        return value + random.choice((-1, 1, value, -2 * value))
    if random.random() < 0.1:
        return _nested(value, random.choice((2, 10, 63, 70, 500)))
    return random.choice(INTERESTING)


def _nested(value: Any, levels: int) -> Any:
    for level in range(levels):
        value = [value] if level % 2 else {"x": value}
    return value


def _extension(value: Any, random: Random) -> Any:
    if random.random() < 0.15:
        return msgpack.ExtType(random.choice((0, 1, 2, 3, 4, 127)), value.data)
    if random.random() < 0.5:
        return msgpack.ExtType(value.code, mutate_bytes(value.data, random))
    return msgpack.ExtType(value.code, _packed(mutate_tree(msgpack.unpackb(value.data), random)))


def mutate_json(content: bytes, random: Random) -> bytes:
    """A JSON document with one node mutated, and at times with a key twice or with mutated text."""
    if random.random() < 0.2:
        return mutate_bytes(content, random)
    text = json.dumps(mutate_tree(json.loads(content), random), default=str)
    if random.random() < 0.1:
        text = re.sub(r"(\"[^\"]*\": [^,{}\[\]]*)", r"\1, \1", text, count=random.choice((1, 3)))
    if random.random() < 0.1:
        text = text.replace(random.choice("0123456789"), random.choice(("1e3", "1.0", "-1", "9" * 30)), 1)
    return text.encode("utf-8", "surrogatepass" if random.random() < 0.5 else "replace")


def mutate_safetensors(content: bytes, random: Random) -> bytes:
    """Mutates the header and corrects its length, or mutates the length or the tensors."""
    (length,) = struct.unpack_from("<Q", content)
    header, rest = content[8 : 8 + length], content[8 + length :]
    if random.random() < 0.1:
        return struct.pack("<Q", random.choice(NUMBERS) % 2**64) + header + rest
    if random.random() < 0.15:
        return struct.pack("<Q", length) + header + mutate_bytes(rest, random)
    header = mutate_json(header, random) if random.random() < 0.8 else _reinterpret_tensor(header, random)
    return struct.pack("<Q", len(header)) + header + rest


def _reinterpret_tensor(header: bytes, random: Random) -> bytes:
    """Gives a tensor another dtype and shape, which may still fit its bytes."""
    entries = json.loads(header)
    entry = entries[random.choice([name for name in entries if name != "__metadata__"])]
    entry["dtype"] = random.choice(("F16", "BF16", "F32", "I32", "U8", "I64", "BOOL", entry["dtype"]))
    entry["shape"] = random.choice(
        ([], [0], [0, 2**62, 2**62], [*entry["shape"], 1], entry["shape"][::-1], [2**32] * 2)
    )
    return json.dumps(entries).encode()


def mutate_msgpack(content: bytes, random: Random) -> bytes:
    if random.random() < 0.3:
        return mutate_bytes(content, random)
    return _packed(mutate_tree(msgpack.unpackb(content, strict_map_key=False), random))


def _packed(value: Any) -> bytes:
    return msgpack.packb(value, unicode_errors="surrogatepass", default=str)


# pickles


GLOBALS = (
    *("collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "torch Size"),
    *("torch FloatStorage", "torch LongStorage", "torch BFloat16Storage", "torch float32", "torch device", "os system"),
    *("torch._tensor _rebuild_from_type_v2", "_codecs encode", "numpy dtype", "numpy ndarray", "argparse Namespace"),
    *("numpy.core.multiarray _reconstruct", "numpy._core.multiarray scalar", "builtins set", "builtins eval"),
    *(
        "torch._utils _rebuild_qtensor",
        "torch.nn.modules.linear Linear",
        "omegaconf.x Y",
        "numpy._core.numeric _frombuffer",
    ),
)

ALONE = b"()]}\x8fN\x88012Rb\x81\x92Q\x85\x86\x87tld\x91\x90aesu\x94\x93."
"""Opcodes without an argument."""

SNIPPETS = (
    *(bytes([code]) for code in ALONE),
    *(b"K\x00", b"J\xff\xff\xff\xff", b"\x8a\x09" + b"\xff" * 8 + b"\x7f", b"h\x00", b"h\x01", b"h\x05", b"q\x00"),
    *(b"X\x01\x00\x00\x00a", b"C\x04abcd", b"U\x02\xff\xfe", b"\x8c\x03key", b"I01\n", b"F1e5\n", b"L5L\n", b"S'x'\n"),
    *(b"(" * 70, b"\x85" * 70, b"]" + b"]\x61" * 70, b"N" + b"q\x00h\x00\x86" * 30, b"}" * 100, b"G" + b"\x7f" * 8),
    *(b"c" + word.replace(" ", "\n").encode() + b"\n" for word in GLOBALS),
)


def mutate_pickle(content: bytes, random: Random) -> bytes:
    """Removes, repeats, swaps, inserts or changes opcodes of the pickles in a file."""
    if random.random() < 0.15:
        return mutate_bytes(content, random)
    instructions, rest = _instructions(content)
    for _ in range(random.choice((1, 1, 2, 3))):
        at = random.randrange(len(instructions))
        match random.randrange(8):
            case 0:
                del instructions[at : at + random.choice((1, 1, 2, 5))]
            case 1:
                instructions.insert(at, random.choice(SNIPPETS))
            case 2:
                instructions.insert(at, random.choice(instructions))
            case 3:
                instructions[at] = random.choice(SNIPPETS)
            case 4:
                other = random.randrange(len(instructions))
                instructions[at], instructions[other] = instructions[other], instructions[at]
            case _:
                instructions[at] = _mutate_argument(instructions[at], random)
    return b"".join(instructions) + rest


def _instructions(content: bytes) -> tuple[list[bytes], bytes]:
    """The instructions of consecutive pickles without FRAME, whose length would not match, and the bytes after them."""
    stream, begins, names = io.BytesIO(content), [], []
    end = 0
    with suppress(Exception):
        while end < len(content) and content[end : end + 1] == b"\x80":
            found = [(opcode.name, position) for opcode, _, position in pickletools.genops(stream)]
            begins += [position or 0 for _, position in found]
            names += [name for name, _ in found]
            end = stream.tell()
    parts = [content[begin:after] for begin, after in zip(begins, [*begins[1:], end], strict=True)]
    return [part for part, name in zip(parts, names, strict=True) if name != "FRAME"], content[end:]


SIZES = {b"K": 1, b"M": 2, b"J": 4, b"h": 1, b"q": 1, b"j": 4, b"r": 4}
"""Size in bytes of the number that follows an opcode."""


def _mutate_argument(instruction: bytes, random: Random) -> bytes:
    code = instruction[:1]
    if code in (b"K", b"M", b"J") and random.random() < 0.5:
        value = random.choice(NUMBERS)
        encoded = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(encoded)]) + encoded
    if code in SIZES:
        return code + (random.choice(NUMBERS) % 256 ** SIZES[code]).to_bytes(SIZES[code], "little")
    if code == b"c":
        return b"c" + random.choice(GLOBALS).replace(" ", "\n").encode() + b"\n"
    if code == b"X":
        text = random.choice(STRINGS).encode("utf-8", "replace")
        return b"X" + struct.pack("<I", len(text)) + text
    return mutate_bytes(instruction, random)


# zip archives


def mutate_zip(content: bytes, random: Random) -> bytes:
    """Mutates a record and corrects its CRC, or reorders the records, or mutates a field of a header."""
    if random.random() < 0.3:
        return _mutate_header(content, random)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        records = [(info.orig_filename, archive.read(info)) for info in archive.infolist()]
        comment, method = archive.comment, random.choice([info.compress_type for info in archive.infolist()])
    inner = [number for number, (name, _) in enumerate(records) if name.endswith(tuple(BY_SUFFIX))]
    at = random.choice(inner if inner and random.random() < 0.8 else range(len(records)))
    name, record = records[at]
    match random.randrange(14):
        case 0:
            del records[at]
        case 1:
            records.append((name, record))
        case 2:
            records[at] = (random.choice((*STRINGS, "model.weights.json", "constants.pkl", "x/data.pkl")), record)
        case 3:
            random.shuffle(records)
        case 4 if comment:
            comment = mutate_json(comment, random)
        case _:
            records[at] = (name, mutate_file(name, record, random))
    return _write_zip(records, comment, method)


def _write_zip(records: list[tuple[str, bytes]], comment: bytes, method: int) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore")
        for name, record in records:
            archive.writestr(zipfile.ZipInfo(name.encode("utf-8", "replace").decode()), record, method)
        archive.comment = comment[:65535]
    return buffer.getvalue()


HEADERS = {b"PK\x03\x04": 30, b"PK\x01\x02": 46, b"PK\x05\x06": 22, b"PK\x06\x06": 56}


def _mutate_header(content: bytes, random: Random) -> bytes:
    """Mutates a field of one of the headers."""
    data = bytearray(content)
    signature = random.choice(list(HEADERS))
    places = [found.start() for found in re.finditer(re.escape(signature), content)]
    if not places:
        return mutate_bytes(content, random)
    begin, size = random.choice(places), random.choice((1, 2, 4))
    at = begin + random.randrange(4, HEADERS[signature])
    data[at : at + size] = (random.choice(NUMBERS) % 256**size).to_bytes(size, "little")
    return bytes(data)


DTYPES = ("'|O'", "'>f4'", "'<f8'", "'<U4'", "'<M8[s]'", "[('a', '<f4')]", "'|V4'", "('<f4', (2,))", "7")


def mutate_npy(content: bytes, random: Random) -> bytes:
    """Mutates a field of the header of an array, and corrects its length."""
    if random.random() < 0.25:
        return mutate_bytes(content, random)
    major = content[6]
    begin, size = (10, 2) if major == 1 else (12, 4)
    length = int.from_bytes(content[8:begin], "little")
    header, rest = content[begin : begin + length].decode("latin-1"), content[begin + length :]
    shape = str(tuple(random.choice((*NUMBERS, True)) for _ in range(random.choice((0, 1, 2, 9)))))
    dtype = random.choice(DTYPES)
    header = random.choice(
        (
            re.sub(r"'shape': \([^)]*\)", f"'shape': {shape}", header),
            re.sub(r"'descr': [^,]*", f"'descr': {dtype}", header),
            re.sub(r"False|True", random.choice(("True", "False", "0", "None")), header),
            re.sub(r"\{", "{" + "(" * random.choice((1, 50, 300, 5000)), header),
            header.replace("}", ", 'x': 1}"),
            mutate_bytes(header.encode("latin-1"), random).decode("latin-1"),
        )
    )
    encoded = header.encode("latin-1")
    return content[:8] + (len(encoded) % 256**size).to_bytes(size, "little") + encoded + rest


# HDF5


HDF5_SIGNATURES = (
    b"\x89HDF",
    b"TREE",
    b"SNOD",
    b"HEAP",
    b"OHDR",
    b"OCHK",
    b"FRHP",
    b"FHDB",
    b"BTHD",
    b"GCOL",
    b"FADB",
    b"FAHD",
)


def mutate_hdf5(content: bytes, random: Random) -> bytes:
    """Mutates numbers near the signatures, and in the object headers of version 1, which have no signature."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 4))):
        places = [found.start() for found in re.finditer(b"|".join(map(re.escape, HDF5_SIGNATURES)), content)]
        headers = [found.start() for found in re.finditer(rb"\x01\x00[\x01-\x20]\x00\x01\x00\x00\x00", content)]
        begin = random.choice((*places, *headers * (1 + len(places) // (1 + len(headers)))) or (0,))
        at = min(begin + random.randrange(4, 300), max(len(data) - 8, 0))
        if random.random() < 0.5:
            size = random.choice((1, 2, 4, 8))
            data[at : at + size] = (random.choice(NUMBERS) % 256**size).to_bytes(size, "little")
        else:
            data[at] ^= 1 << random.randrange(8)
    return bytes(data) if random.random() < 0.8 else mutate_bytes(bytes(data), random)


BY_SUFFIX: dict[str, Change] = {
    ".safetensors": mutate_safetensors,
    ".index.json": mutate_json,
    ".json": mutate_json,
    ".zarray": mutate_json,
    "_METADATA": mutate_json,
    ".msgpack": mutate_msgpack,
    "data.pkl": mutate_pickle,
    ".pkl": mutate_pickle,
    ".pth": lambda content, random: (mutate_zip if content.startswith(b"PK") else mutate_pickle)(content, random),
    ".npz": mutate_zip,
    ".keras": mutate_zip,
    ".npy": mutate_npy,
    ".h5": mutate_hdf5,
}
"""The mutation for a file, or a record of an archive, by its suffix."""
