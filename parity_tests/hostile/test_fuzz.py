"""Files that hypothesis mutates or generates: every reader reads them completely, or refuses them with a refusal id.

The longer runs are in fuzz/, and their findings in docs/about/fuzzing.md.
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

from fuzz.mutations import GLOBALS, NUMBERS, SNIPPETS, STRINGS, mutate_sample
from fuzz.seeds import SEEDS, Sample, seeds, single_file
from fuzz.trial import ACCEPTED, read_file
from parity_tests.hostile import pickles
from parity_tests.support.isolated_process import start_forked
from se_weights.files.limits import NAME
from se_weights.files.processes import sandbox
from se_weights.refusals import REFUSALS

pytestmark = pytest.mark.filterwarnings(
    "ignore:Reading `.npy` or `.npz` file required additional header parsing:UserWarning"  # numpy, of Python 2's files
)

EXAMPLES = {"hdf5": 20, "keras2": 20, "keras": 20}
"""Number of examples of readers that start a process for each file; the others have many more."""

numbers = st.sampled_from(NUMBERS) | st.integers(-3, 300)
strings = st.sampled_from(STRINGS) | st.text(max_size=8)
sizes = st.integers(0, 4) | st.sampled_from(NUMBERS)


def examples(count: int) -> Callable[[Any], Any]:
    """Settings of hypothesis: this many examples, the same in every run."""
    health = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
    return settings(max_examples=count, derandomize=True, database=None, deadline=None, suppress_health_check=health)


def outcome(sample: Sample, *, recognise: bool = False, load: bool = True) -> str:
    """The refusal id of a sample, or ACCEPTED."""
    with tempfile.TemporaryDirectory() as folder:
        return read_file(sample.write(Path(folder)), recognise=recognise, load=load)


@pytest.fixture(autouse=True)
def forked_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the program that lists HDF5 files: to start it takes a quarter of a second."""
    monkeypatch.setattr(sandbox, "start", start_forked)


@pytest.mark.parametrize("reader", SEEDS)
def test_every_seed_is_accepted(reader: str) -> None:
    assert {outcome(sample, load=reader != "orbax") for sample in seeds(reader)} == {ACCEPTED}


@pytest.mark.parametrize("reader", SEEDS)
def test_a_damaged_file_is_read_or_refused(reader: str) -> None:
    samples = seeds(reader)

    @examples(EXAMPLES.get(reader, 100))
    @given(st.integers(0, 2**32))
    def check(number: int) -> None:
        random = Random(number)
        outcome(mutate_sample(random.choice(samples), random), recognise=number % 8 == 0, load=reader != "orbax")

    check()


# generated files


tensors = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(("F32", "BF16", "U8", "F8_E5M2")) | strings,
        "shape": st.lists(sizes, max_size=3),
        "data_offsets": st.lists(sizes, min_size=2, max_size=2),
    }
)
documents = st.recursive(
    st.none() | st.booleans() | numbers | st.floats() | strings,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3),
    max_leaves=8,
)


@examples(80)
@given(st.dictionaries(strings, tensors | documents, max_size=4), st.binary(max_size=16))
def test_any_safetensors_header_is_read_or_refused(header: dict[str, Any], values: bytes) -> None:
    content = json.dumps(header).encode()
    outcome(single_file("a.safetensors", struct.pack("<Q", len(content)) + content + values))


@examples(150)
@given(
    st.dictionaries(strings.filter(lambda string: string != "__metadata__"), st.lists(st.integers(0, 3), max_size=3))
)
def test_every_valid_safetensors_file_is_accepted(shapes: dict[str, list[int]]) -> None:
    header, end = {}, 0
    for name, shape in shapes.items():
        header[name] = {"dtype": "U8", "shape": shape, "data_offsets": [end, end + prod(shape)]}
        end += prod(shape)
    content = json.dumps(header).encode()
    result = outcome(single_file("a.safetensors", struct.pack("<Q", len(content)) + content + bytes(end)))
    valid_names = all(0 < len(name) <= NAME and name.isprintable() and ".." not in name.split("/") for name in shapes)
    assert result == (ACCEPTED if valid_names else "tensor.name")


@examples(150)
@given(documents)
def test_any_index_of_shards_is_read_or_refused(weight_map: object) -> None:
    outcome(single_file("model.safetensors.index.json", json.dumps({"weight_map": weight_map}).encode()))


def array(shape: object, dtype: object, values: object) -> msgpack.ExtType:
    return msgpack.ExtType(1, msgpack.packb((shape, dtype, values), unicode_errors="surrogatepass"))


msgpack_numbers = numbers.filter(lambda number: -(2**63) <= number < 2**64)
msgpack_arrays = st.builds(
    array,
    st.lists(msgpack_numbers, max_size=3) | strings,
    st.sampled_from(("float32", "bfloat16")) | strings,
    st.binary(),
)
msgpack_trees = st.recursive(
    msgpack_arrays
    | msgpack_numbers
    | strings
    | st.binary(max_size=8)
    | st.builds(msgpack.ExtType, st.integers(0, 4), st.binary()),
    lambda inner: st.dictionaries(
        strings | st.sampled_from(("__msgpack_chunked_array__", "shape", "chunks", "0", "1")) | st.integers(0, 2),
        inner,
        max_size=4,
    ),
    max_leaves=10,
)


@examples(200)
@given(msgpack_trees)
def test_any_msgpack_tree_is_read_or_refused(tree: object) -> None:
    outcome(single_file("a.msgpack", msgpack.packb(tree, unicode_errors="surrogatepass")))


instructions = st.lists(
    st.sampled_from(SNIPPETS)
    | strings.map(lambda word: pickles.text(word.encode("utf-8", "replace").decode()))
    | numbers.map(pickles.number)
    | st.sampled_from(GLOBALS).map(lambda word: pickles.global_name(*word.split())),
    max_size=40,
)


@examples(200)
@given(instructions, st.integers(2, 5))
def test_any_pickle_is_read_or_refused(parts: list[bytes], protocol: int) -> None:
    content = pickles.pickle_of(b"".join(parts), protocol)
    outcome(single_file("a.pkl", content))
    outcome(single_file("a.pth", zipped({"a/data.pkl": content, "a/data/0": bytes(16)})))


@examples(150)
@given(*[st.tuples(sizes, sizes)] * 2, sizes, st.sampled_from(("FloatStorage", "BoolStorage")), sizes)
def test_any_view_of_a_storage_is_read_or_refused(
    shape: tuple[int, int], stride: tuple[int, int], offset: int, kind: str, count: int
) -> None:
    view = pickles.View("0", count, shape, stride, offset, kind)
    tree = pickles.pickle_of(pickles.text_dict({"a": view.pickled}))
    outcome(single_file("a.pth", zipped({"a/data.pkl": tree, "a/data/0": bytes(max(0, min(count, 16)) * 4)})))


npy_headers = st.builds(
    lambda descr, order, shape: repr({"descr": descr, "fortran_order": order, "shape": tuple(shape)}),
    st.sampled_from(("<f4", ">f8", "|O", "<U3", "|b1", "<M8[s]", [("a", "<f4")], 7)) | strings,
    st.booleans() | numbers,
    st.lists(numbers | strings, max_size=3),
)


@examples(200)
@given(
    npy_headers | st.text(alphabet="{}()[]'\",: \n-descrshape0123456789", max_size=60), st.integers(0, 4), st.binary()
)
def test_any_npy_header_is_read_or_refused(header: str, version: int, values: bytes) -> None:
    encoded = header.encode("latin-1", "replace")
    length = struct.pack("<H" if version < 2 else "<I", len(encoded))
    outcome(single_file("a.npz", zipped({"a.npy": b"\x93NUMPY" + bytes([version, 0]) + length + encoded + values})))


def zipped(records: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in records.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


fields = st.lists(st.tuples(st.integers(0, 2000), st.sampled_from((1, 2, 4, 8)), numbers), min_size=1, max_size=4)


@examples(200)
@given(fields, st.sampled_from(("a.npz", "a.pth", "a.keras")))
def test_any_number_in_a_zip_directory_is_read_or_refused(changes: list[tuple[int, int, int]], name: str) -> None:
    content = bytearray(zipped({"a/data.pkl": pickle.dumps({}, 2), "a.npy": b"", "config.json": b"{}"}))
    for place, size, value in changes:
        at = place % len(content)
        content[at : at + size] = (value % 256**size).to_bytes(size, "little")
    outcome(single_file(name, bytes(content)))


# files that the long runs found, and files that were found in preparing them


def header(entries: Mapping[str, object]) -> Sample:
    content = json.dumps(entries).encode()
    return single_file("a.safetensors", struct.pack("<Q", len(content)) + content)


def with_metadata(architecture: str) -> Sample:
    return header(
        {"__metadata__": {"architecture": architecture}, "a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}
    )


def torch_file(tree: bytes) -> Sample:
    return single_file("a.pth", zipped({"a/data.pkl": pickles.pickle_of(tree), "a/data/0": bytes(16)}))


def doubled(leaf: bytes) -> bytes:
    """Pairs of the same pair, sixty levels deep: small in the pickle, with 2**60 leaves for code that visits each."""
    return leaf + b"".join(pickle.BINPUT + bytes([n]) + pickle.BINGET + bytes([n]) + pickle.TUPLE2 for n in range(60))


def filled_late() -> bytes:
    """The same with lists that are filled after they were put into one another."""
    lists = b"".join(pickle.EMPTY_LIST + pickle.BINPUT + bytes([n]) for n in range(50))
    pairs = ((pickle.BINGET + bytes([n]), pickle.BINGET + bytes([n + 1])) for n in range(49))
    filled = b"".join(one + pickle.MARK + two * 2 + pickle.APPENDS + pickle.POP for one, two in pairs)
    return lists + filled + pickle.POP * 49


def with_architecture(architecture: bytes) -> bytes:
    state = pickles.text_dict({"_metadata": pickles.text_dict({"": pickles.text_dict({"architecture": architecture})})})
    return pickles.ORDERED + state + pickle.BUILD


def repeated(first: bytes, again: bytes, times: int) -> bytes:
    """A list of what `again` makes, so many times, from what `first` puts into the memo."""
    return first + pickle.BINPUT + b"\0" + pickle.POP + pickle.EMPTY_LIST + pickle.MARK + again * times + pickle.APPENDS


VIEW = pickles.View("0", 4, (2, 2), (2, 1))
MANY_BYTES = pickle.BINBYTES + struct.pack("<I", 10**7) + bytes(10**7)
RECALLED = pickle.BINGET + b"\0"
WIDE = pickles.dict_of((pickles.number(number), pickle.NONE) for number in range(20_000))
EMPTY_ORDERED = pickles.global_name("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
LEGACY = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)


def legacy(count: int) -> Sample:
    tree = pickles.pickle_of(pickles.text_dict({"a": VIEW.but(count=count).pickled}))
    return single_file("a.pth", LEGACY + tree + pickle.dumps(["0"], 2) + struct.pack("<q", count))


def npz(header: bytes) -> Sample:
    return single_file("a.npz", zipped({"a.npy": b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header}))


def sharded(name: str) -> Sample:
    return single_file("model.safetensors.index.json", json.dumps({"weight_map": {"a": name}}).encode())


def orbax_of(level: str) -> Sample:
    array = {"key_metadata": [{"key": level}], "value_metadata": {"value_type": "jax.Array", "skip_deserialize": False}}
    return Sample("a.orbax", {"a.orbax/_METADATA": json.dumps({"tree_metadata": {"a": array}}).encode()})


HUGE = [0, 2**62, 2**62]

REGRESSIONS: dict[str, tuple[Sample, str]] = {
    "an empty array of a shape too large for numpy: safetensors": (
        header({"a": {"dtype": "F32", "shape": HUGE, "data_offsets": [0, 0]}}),
        "tensor.shape",
    ),
    "an empty array of a shape too large for numpy: msgpack": (
        single_file("a.msgpack", msgpack.packb({"a": array(HUGE, "float32", b"")})),
        "tensor.shape",
    ),
    "an empty array of a shape too large for numpy: npz": (
        npz(b"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4611686018427387904, 4)}\n"),
        "tensor.shape",
    ),
    "an empty array of a stride too large for numpy": (
        torch_file(pickles.text_dict({"a": VIEW.but(shape=(0, 2), stride=(2**70, 1)).pickled})),
        "torch.tensor",
    ),
    "a boolean in a shape: npz": (
        npz(b"{'descr': '<f4', 'fortran_order': False, 'shape': (True, 0)}\n"),
        "tensor.shape",
    ),
    "a boolean in a shape: pickle": (
        single_file("a.pkl", pickle.dumps({"a": np.ones((1, 5), "f4")}, 2).replace(b"K\1K\5\x86", b"\x88K\5\x86")),
        "tensor.size",
    ),
    "an npy header without its end": (npz(b"{'descr': '<f4', 'shape': ((((("), "npz.header"),
    "an architecture nested without end": (with_metadata("[" * 50_000), "metadata.json"),
    "an architecture of a billion blocks": (
        with_metadata('{"name": "x", "block": "basic", "depths": [1000000000], "widths": [64]}'),
        "metadata.json",
    ),
    "a dense block of a billion layers": (
        with_metadata('{"family": "se_densenet", "name": "x", "block_config": [1000000000]}'),
        "metadata.json",
    ),
    "a family that is none": (with_metadata('{"family": "vgg", "name": "x"}'), "metadata.json"),
    "a family that is a list": (with_metadata('{"family": [[]], "name": "x"}'), "metadata.json"),
    "an architecture of a million stages": (
        with_metadata(json.dumps({"name": "x", "block": "basic", "depths": [1] * 10**6, "widths": [64] * 10**6})),
        "metadata.json",
    ),
    "a shard with too long a name": (sharded("x" * 300 + ".safetensors"), "shards.index"),
    "a shard whose name is not valid Unicode": (sharded("\ud800.safetensors"), "shards.index"),
    "a text of exabytes in a pickle": (
        single_file("a.pkl", b"\x80\4\x8d" + struct.pack("<Q", 2**62) + b"a."),
        "pickle.damaged",
    ),
    "a storage of exabytes, before the zip": (legacy(2**62), "torch.storage"),
    "a storage of exabytes, before the zip, that fits a seek": (legacy(2**60 - 1), "torch.storage"),
    "a key of pairs of pairs": (
        torch_file(pickles.dict_of([(doubled(pickles.text("a")), VIEW.pickled)])),
        "pickle.size",
    ),
    "a storage named by pairs of pairs": (
        torch_file(pickles.text_dict({"a": doubled(pickle.NONE) + pickle.BINPERSID})),
        "pickle.size",
    ),
    "a storage named by lists that are filled late": (
        torch_file(pickles.text_dict({"a": filled_late() + pickle.BINPERSID})),
        "torch.storage",
    ),
    "an architecture of lists that are filled late": (
        torch_file(with_architecture(pickles.text_dict({"x": filled_late()}))),
        "metadata.json",
    ),
    "an architecture that contains itself": (
        torch_file(
            with_architecture(pickle.EMPTY_DICT + pickle.BINPUT + b"\5" + pickles.text("x") + pickle.BINGET + b"\5s")
        ),
        "metadata.json",
    ),
    "an architecture with a tensor": (
        torch_file(with_architecture(pickles.text_dict({"x": VIEW.pickled}))),
        "metadata.json",
    ),
    "a dtype named by lists that are filled late": (
        single_file("a.pkl", pickles.pickle_of(pickles.call(pickles.global_name("numpy", "dtype"), filled_late()))),
        "pickle.content",
    ),
    "half a million empty dictionaries": (
        torch_file(pickle.MARK + pickle.EMPTY_DICT * 500_000 + pickle.LIST),
        "pickle.size",
    ),
    "a hundred copies of one dictionary": (
        torch_file(repeated(WIDE, RECALLED, 100)),
        "pickle.size",
    ),
    "an architecture with a tuple for a key": (
        torch_file(with_architecture(pickles.dict_of([(pickle.EMPTY_TUPLE, pickle.NONE)]))),
        "metadata.json",
    ),
    "an Orbax array with too long a name": (
        orbax_of("x" * 300),
        "orbax.metadata",
    ),
    "a shape of ten million bytes": (
        torch_file(pickles.call(pickles.global_name("torch", "Size"), MANY_BYTES)),
        "tensor.shape",
    ),
    "ten megabytes of text, encoded repeatedly": (
        torch_file(
            repeated(
                pickles.text("x" * 10**7),
                pickles.global_name("_codecs", "encode")
                + RECALLED
                + pickles.text("latin1")
                + pickle.TUPLE2
                + pickle.REDUCE,
                100,
            )
        ),
        "pickle.size",
    ),
    "a dictionary copied repeatedly": (
        torch_file(
            repeated(
                WIDE, pickles.global_name("collections", "OrderedDict") + RECALLED + pickle.TUPLE1 + pickle.REDUCE, 100
            )
        ),
        "pickle.size",
    ),
    "attributes copied repeatedly": (
        torch_file(repeated(WIDE, EMPTY_ORDERED + RECALLED + pickle.BUILD, 100)),
        "pickle.size",
    ),
}
"""Files with the refusal id that they get. Each one raised another error, did not end, or filled the memory."""


@pytest.mark.timeout(20)
@pytest.mark.parametrize("title", REGRESSIONS)
def test_files_that_fuzzing_found_are_refused(title: str) -> None:
    sample, reason = REGRESSIONS[title]
    assert reason in REFUSALS
    assert outcome(sample, recognise=True) == reason
