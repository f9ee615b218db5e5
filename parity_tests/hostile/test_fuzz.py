"""Every reader keeps its promise on files that hypothesis damages or makes up: read whole, or refused by an id.

The longer runs are in fuzz/, and what they found in docs/fuzzing.md.
"""

import io
import json
import pickle
import struct
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from random import Random
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.mutations import GLOBALS, NUMBERS, SNIPPETS, WORDS, mutated
from fuzz.seeds import SEEDS, Sample, one, seeds
from fuzz.trial import ACCEPTED, tried
from parity_tests.hostile import pickles
from parity_tests.support.isolated_process import start_forked
from se_weights.files import sandbox
from se_weights.files.limits import NAME
from se_weights.refusals import REFUSALS

pytestmark = pytest.mark.filterwarnings(
    "ignore:Reading `.npy` or `.npz` file required additional header parsing:UserWarning"  # numpy, of Python 2's files
)

EXAMPLES = {"hdf5": 20, "keras2": 20, "keras": 20}
"""Where each takes a process; elsewhere many more."""

numbers = st.sampled_from(NUMBERS) | st.integers(-3, 300)
words = st.sampled_from(WORDS) | st.text(max_size=8)
sizes = st.integers(0, 4) | st.sampled_from(NUMBERS)


def quick(examples: int) -> Callable[[Any], Any]:
    """The same examples in every run."""
    health = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
    return settings(max_examples=examples, derandomize=True, database=None, deadline=None, suppress_health_check=health)


def outcome(sample: Sample, *, whole: bool = False, load: bool = True) -> str:
    with tempfile.TemporaryDirectory() as folder:
        return tried(sample.put(Path(folder)), whole=whole, load=load)


@pytest.fixture(autouse=True)
def forked_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program that lists HDF5 is forked from a warm process: to start it takes a quarter of a second."""
    monkeypatch.setattr(sandbox, "start", start_forked)


@pytest.mark.parametrize("reader", SEEDS)
def test_every_seed_is_accepted(reader: str) -> None:
    assert {outcome(sample, load=reader != "orbax") for sample in seeds(reader)} == {ACCEPTED}


@pytest.mark.parametrize("reader", SEEDS)
def test_a_damaged_file_is_read_or_refused(reader: str) -> None:
    samples = seeds(reader)

    @quick(EXAMPLES.get(reader, 100))
    @given(st.integers(0, 2**32))
    def hold(number: int) -> None:
        random = Random(number)
        outcome(mutated(random.choice(samples), random), whole=number % 8 == 0, load=reader != "orbax")

    hold()


# files that are made up


tensors = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(("F32", "BF16", "U8", "F8_E5M2")) | words,
        "shape": st.lists(sizes, max_size=3),
        "data_offsets": st.lists(sizes, min_size=2, max_size=2),
    }
)
documents = st.recursive(
    st.none() | st.booleans() | numbers | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


@quick(80)
@given(st.dictionaries(words, tensors | documents, max_size=4), st.binary(max_size=16))
def test_any_safetensors_header_is_read_or_refused(header: dict[str, Any], values: bytes) -> None:
    content = json.dumps(header).encode()
    outcome(one("a.safetensors", struct.pack("<Q", len(content)) + content + values))


@quick(150)
@given(st.dictionaries(words.filter(lambda word: word != "__metadata__"), st.lists(st.integers(0, 3), max_size=3)))
def test_every_sound_safetensors_file_is_accepted(shapes: dict[str, list[int]]) -> None:
    header, reached = {}, 0
    for name, shape in shapes.items():
        header[name] = {"dtype": "U8", "shape": shape, "data_offsets": [reached, reached + prod(shape)]}
        reached += prod(shape)
    content = json.dumps(header).encode()
    said = outcome(one("a.safetensors", struct.pack("<Q", len(content)) + content + bytes(reached)))
    named = all(0 < len(name) <= NAME and name.isprintable() and ".." not in name.split("/") for name in shapes)
    assert said == (ACCEPTED if named else "tensor.name")


@quick(150)
@given(documents)
def test_any_index_of_shards_is_read_or_refused(weight_map: object) -> None:
    outcome(one("model.safetensors.index.json", json.dumps({"weight_map": weight_map}).encode()))


def array(shape: object, dtype: object, values: object) -> msgpack.ExtType:
    return msgpack.ExtType(1, msgpack.packb((shape, dtype, values), unicode_errors="surrogatepass"))


msgpack_numbers = numbers.filter(lambda number: -(2**63) <= number < 2**64)
msgpack_arrays = st.builds(
    array, st.lists(msgpack_numbers, max_size=3) | words, st.sampled_from(("float32", "bfloat16")) | words, st.binary()
)
msgpack_trees = st.recursive(
    msgpack_arrays
    | msgpack_numbers
    | words
    | st.binary(max_size=8)
    | st.builds(msgpack.ExtType, st.integers(0, 4), st.binary()),
    lambda inner: st.dictionaries(
        words | st.sampled_from(("__msgpack_chunked_array__", "shape", "chunks", "0", "1")) | st.integers(0, 2),
        inner,
        max_size=4,
    ),
    max_leaves=10,
)


@quick(200)
@given(msgpack_trees)
def test_any_msgpack_tree_is_read_or_refused(tree: object) -> None:
    outcome(one("a.msgpack", msgpack.packb(tree, unicode_errors="surrogatepass")))


instructions = st.lists(
    st.sampled_from(SNIPPETS)
    | words.map(lambda word: pickles.text(word.encode("utf-8", "replace").decode()))
    | numbers.map(pickles.number)
    | st.sampled_from(GLOBALS).map(lambda word: pickles.name(*word.split())),
    max_size=40,
)


@quick(200)
@given(instructions, st.integers(2, 5))
def test_any_pickle_is_read_or_refused(parts: list[bytes], protocol: int) -> None:
    content = pickles.whole(b"".join(parts), protocol)
    outcome(one("a.pkl", content))
    outcome(one("a.pth", zipped({"a/data.pkl": content, "a/data/0": bytes(16)})))


@quick(150)
@given(*[st.tuples(sizes, sizes)] * 2, sizes, st.sampled_from(("FloatStorage", "BoolStorage")), sizes)
def test_any_view_of_a_storage_is_read_or_refused(
    shape: tuple[int, int], stride: tuple[int, int], offset: int, kind: str, count: int
) -> None:
    view = pickles.View("0", count, shape, stride, offset, kind)
    tree = pickles.whole(pickles.mapping({"a": view.pickled}))
    outcome(one("a.pth", zipped({"a/data.pkl": tree, "a/data/0": bytes(max(0, min(count, 16)) * 4)})))


npy_headers = st.builds(
    lambda descr, order, shape: repr({"descr": descr, "fortran_order": order, "shape": tuple(shape)}),
    st.sampled_from(("<f4", ">f8", "|O", "<U3", "|b1", "<M8[s]", [("a", "<f4")], 7)) | words,
    st.booleans() | numbers,
    st.lists(numbers | words, max_size=3),
)


@quick(200)
@given(
    npy_headers | st.text(alphabet="{}()[]'\",: \n-descrshape0123456789", max_size=60), st.integers(0, 4), st.binary()
)
def test_any_npy_header_is_read_or_refused(header: str, version: int, values: bytes) -> None:
    encoded = header.encode("latin-1", "replace")
    length = struct.pack("<H" if version < 2 else "<I", len(encoded))
    outcome(one("a.npz", zipped({"a.npy": b"\x93NUMPY" + bytes([version, 0]) + length + encoded + values})))


def zipped(records: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in records.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


fields = st.lists(st.tuples(st.integers(0, 2000), st.sampled_from((1, 2, 4, 8)), numbers), min_size=1, max_size=4)


@quick(200)
@given(fields, st.sampled_from(("a.npz", "a.pth", "a.keras")))
def test_any_number_in_a_zip_directory_is_read_or_refused(changes: list[tuple[int, int, int]], name: str) -> None:
    content = bytearray(zipped({"a/data.pkl": pickle.dumps({}, 2), "a.npy": b"", "config.json": b"{}"}))
    for place, size, value in changes:
        at = place % len(content)
        content[at : at + size] = (value % 256**size).to_bytes(size, "little")
    outcome(one(name, bytes(content)))


# what the long runs found, and what was found on the way to them


def header(entries: Mapping[str, object]) -> Sample:
    content = json.dumps(entries).encode()
    return one("a.safetensors", struct.pack("<Q", len(content)) + content)


def described(facts: str) -> Sample:
    return header(
        {"__metadata__": {"architecture": facts}, "a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}
    )


def torch_file(tree: bytes) -> Sample:
    return one("a.pth", zipped({"a/data.pkl": pickles.whole(tree), "a/data/0": bytes(16)}))


def doubled(leaf: bytes) -> bytes:
    """A pair of pairs of pairs ... sixty levels deep: small in the pickle, and endless to whom looks at each."""
    return leaf + b"".join(pickle.BINPUT + bytes([n]) + pickle.BINGET + bytes([n]) + pickle.TUPLE2 for n in range(60))


def filled_late() -> bytes:
    """The same of lists that are filled once they are in one another."""
    made = b"".join(pickle.EMPTY_LIST + pickle.BINPUT + bytes([n]) for n in range(50))
    pairs = ((pickle.BINGET + bytes([n]), pickle.BINGET + bytes([n + 1])) for n in range(49))
    filled = b"".join(one + pickle.MARK + two * 2 + pickle.APPENDS + pickle.POP for one, two in pairs)
    return made + filled + pickle.POP * 49


def with_architecture(facts: bytes) -> bytes:
    state = pickles.mapping({"_metadata": pickles.mapping({"": pickles.mapping({"architecture": facts})})})
    return pickles.ORDERED + state + pickle.BUILD


def repeated(made: bytes, again: bytes, times: int) -> bytes:
    return made + pickle.BINPUT + b"\0" + pickle.POP + pickle.EMPTY_LIST + pickle.MARK + again * times + pickle.APPENDS


VIEW = pickles.View("0", 4, (2, 2), (2, 1))
MANY_BYTES = pickle.BINBYTES + struct.pack("<I", 10**7) + bytes(10**7)
RECALLED = pickle.BINGET + b"\0"
WIDE = pickles.keyed((pickles.number(number), pickle.NONE) for number in range(20_000))
EMPTY_ORDERED = pickles.name("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
LEGACY = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)


def legacy(count: int) -> Sample:
    tree = pickles.whole(pickles.mapping({"a": VIEW.but(count=count).pickled}))
    return one("a.pth", LEGACY + tree + pickle.dumps(["0"], 2) + struct.pack("<q", count))


def npz(header: bytes) -> Sample:
    return one("a.npz", zipped({"a.npy": b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header}))


def sharded(name: str) -> Sample:
    return one("model.safetensors.index.json", json.dumps({"weight_map": {"a": name}}).encode())


def orbax_of(level: str) -> Sample:
    array = {"key_metadata": [{"key": level}], "value_metadata": {"value_type": "jax.Array", "skip_deserialize": False}}
    return Sample("a.orbax", {"a.orbax/_METADATA": json.dumps({"tree_metadata": {"a": array}}).encode()})


HUGE = [0, 2**62, 2**62]

FOUND: dict[str, tuple[Sample, str]] = {
    "no values, of a shape beyond numpy: safetensors": (
        header({"a": {"dtype": "F32", "shape": HUGE, "data_offsets": [0, 0]}}),
        "tensor.shape",
    ),
    "no values, of a shape beyond numpy: msgpack": (
        one("a.msgpack", msgpack.packb({"a": array(HUGE, "float32", b"")})),
        "tensor.shape",
    ),
    "no values, of a shape beyond numpy: npz": (
        npz(b"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4611686018427387904, 4)}\n"),
        "tensor.shape",
    ),
    "no values, of a stride beyond numpy": (
        torch_file(pickles.mapping({"a": VIEW.but(shape=(0, 2), stride=(2**70, 1)).pickled})),
        "torch.tensor",
    ),
    "a truth for a side: npz": (
        npz(b"{'descr': '<f4', 'fortran_order': False, 'shape': (True, 0)}\n"),
        "tensor.shape",
    ),
    "a truth for a side: pickle": (
        one("a.pkl", pickle.dumps({"a": np.ones((1, 5), "f4")}, 2).replace(b"K\1K\5\x86", b"\x88K\5\x86")),
        "tensor.size",
    ),
    "an npy header of which the end is missing": (npz(b"{'descr': '<f4', 'shape': ((((("), "npz.header"),
    "an architecture nested without end": (described("[" * 50_000), "metadata.json"),
    "an architecture of a billion blocks": (
        described('{"name": "x", "block": "basic", "depths": [1000000000], "widths": [64]}'),
        "metadata.json",
    ),
    "an architecture of a million stages": (
        described(json.dumps({"name": "x", "block": "basic", "depths": [1] * 10**6, "widths": [64] * 10**6})),
        "metadata.json",
    ),
    "a shard of too long a name": (sharded("x" * 300 + ".safetensors"), "shards.index"),
    "a shard of a name that is no text": (sharded("\ud800.safetensors"), "shards.index"),
    "a text of exabytes in a pickle": (
        one("a.pkl", b"\x80\4\x8d" + struct.pack("<Q", 2**62) + b"a."),
        "pickle.damaged",
    ),
    "a storage of exabytes, before the zip": (legacy(2**62), "torch.storage"),
    "a storage of exabytes, before the zip, that fits a seek": (legacy(2**60 - 1), "torch.storage"),
    "a key of pairs of pairs": (
        torch_file(pickles.keyed([(doubled(pickles.text("a")), VIEW.pickled)])),
        "pickle.size",
    ),
    "a storage named by pairs of pairs": (
        torch_file(pickles.mapping({"a": doubled(pickle.NONE) + pickle.BINPERSID})),
        "pickle.size",
    ),
    "a storage named by lists that are filled late": (
        torch_file(pickles.mapping({"a": filled_late() + pickle.BINPERSID})),
        "torch.storage",
    ),
    "an architecture of lists that are filled late": (
        torch_file(with_architecture(pickles.mapping({"x": filled_late()}))),
        "metadata.json",
    ),
    "an architecture that holds itself": (
        torch_file(
            with_architecture(pickle.EMPTY_DICT + pickle.BINPUT + b"\5" + pickles.text("x") + pickle.BINGET + b"\5s")
        ),
        "metadata.json",
    ),
    "an architecture with a tensor": (
        torch_file(with_architecture(pickles.mapping({"x": VIEW.pickled}))),
        "metadata.json",
    ),
    "a type of numbers named by lists that are filled late": (
        one("a.pkl", pickles.whole(pickles.call(pickles.name("numpy", "dtype"), filled_late()))),
        "pickle.content",
    ),
    "half a million empty dictionaries": (
        torch_file(pickle.MARK + pickle.EMPTY_DICT * 500_000 + pickle.LIST),
        "pickle.size",
    ),
    "dictionaries of one dictionary": (
        torch_file(repeated(WIDE, RECALLED, 100)),
        "pickle.size",
    ),
    "an architecture with a tuple for a key": (
        torch_file(with_architecture(pickles.keyed([(pickle.EMPTY_TUPLE, pickle.NONE)]))),
        "metadata.json",
    ),
    "an array of Orbax's of too long a name": (
        orbax_of("x" * 300),
        "orbax.metadata",
    ),
    "a shape of ten million bytes": (
        torch_file(pickles.call(pickles.name("torch", "Size"), MANY_BYTES)),
        "tensor.shape",
    ),
    "ten megabytes of text, encoded again and again": (
        torch_file(
            repeated(
                pickles.text("x" * 10**7),
                pickles.name("_codecs", "encode") + RECALLED + pickles.text("latin1") + pickle.TUPLE2 + pickle.REDUCE,
                100,
            )
        ),
        "pickle.size",
    ),
    "a dictionary copied again and again": (
        torch_file(
            repeated(WIDE, pickles.name("collections", "OrderedDict") + RECALLED + pickle.TUPLE1 + pickle.REDUCE, 100)
        ),
        "pickle.size",
    ),
    "attributes copied again and again": (
        torch_file(repeated(WIDE, EMPTY_ORDERED + RECALLED + pickle.BUILD, 100)),
        "pickle.size",
    ),
}
"""Each raised an error that is none of ours, ran on, or filled the memory."""


@pytest.mark.timeout(20)
@pytest.mark.parametrize("title", FOUND)
def test_what_was_once_found_is_refused(title: str) -> None:
    sample, reason = FOUND[title]
    assert reason in REFUSALS
    assert outcome(sample, whole=True) == reason
