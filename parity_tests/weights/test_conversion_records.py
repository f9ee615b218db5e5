"""Conversion records: what they contain, `verify` and `compare` with them, and the precision losses of casts."""

import json
import math
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import ml_dtypes
import numpy as np
import pytest

import se_spec
import se_weights
from parity_tests.support.isolated_process import se_resnet, tiny_checkpoint
from se_weights import Checkpoint, MalformedFile, cast_to, notes, read_conversion_record, weights_sha256
from se_weights.provenance.conversion_record import record_path
from se_weights.transforms.cast import DTYPES, cast_array, cast_reports, recorded_casts

SUFFIXES = [".pth", ".safetensors", ".weights.h5", ".msgpack", ".npz", ".hf"]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.pth"
    se_weights.write(tiny_checkpoint(), path)
    return path


def converted(source, name, **options):
    target = source.with_name(name)
    se_weights.convert(source, target, manifest=True, **options)
    return target


def changed(**arrays) -> Checkpoint:
    """The network with changes in some tensors, as in `fc__bias=lambda values: ...`."""
    known = tiny_checkpoint()
    weights = {name: array.copy() for name, array in known.weights.items()}
    for name, change in arrays.items():
        path = name.replace("__", ".")
        weights[path] = change(weights[path])
    return replace(known, weights=weights)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_conversion_record_describes_source_and_target(source, suffix):
    target = converted(source, f"target{suffix}")
    document = json.loads(record_path(target).read_text())
    assert document["schema"] == 1
    assert document["tool"] == f"se-resnet {se_spec.__version__}"
    assert document["source"] == {
        "file": "source.pth", "sha256": se_weights.file_sha256(source), "dialect": "torch", "unwrapped": [], "left": [],
    }  # fmt: skip
    assert document["target"]["file"] == target.name
    assert document["target"]["sha256"] == se_weights.file_sha256(target)
    assert document["target"]["dialect"] == se_weights.read(target).dialect
    assert document["architecture"] == tiny_checkpoint().architecture.to_dict()
    assert document["changes"] == {"dtypes": [], "reordered": ""}
    manifest = read_conversion_record(record_path(target))
    assert manifest.weights_sha256 == weights_sha256(tiny_checkpoint().weights)
    assert {name: print_.sha256 for name, print_ in manifest.tensors.items()} == {
        name: se_weights.tensor_sha256(array) for name, array in tiny_checkpoint().weights.items()
    }


def test_equal_conversions_give_equal_conversion_records(source):
    first = converted(source, "a.hf")
    text = record_path(first).read_bytes()
    converted(source, "a.hf", force=True)
    assert record_path(first).read_bytes() == text


def test_an_existing_conversion_record_is_kept_unless_forced(source):
    record_path(source.with_name("a.npz")).write_text("precious")
    with pytest.raises(se_weights.TargetExists, match="manifest"):
        converted(source, "a.npz")
    assert not source.with_name("a.npz").exists()
    assert read_conversion_record(record_path(converted(source, "a.npz", force=True)))


def test_compare_takes_files_and_conversion_records_of_any_format(source):
    paths = [
        path
        for suffix in SUFFIXES
        for target in [converted(source, f"t{suffix}")]
        for path in (target, record_path(target))
    ]
    for one, other in [(paths[0], paths[1]), *pairwise(paths), (paths[-1], paths[3])]:
        ran = se_resnet("compare", one, other)
        assert ran.returncode == 0, (one, other, ran)
        assert "same weights" in ran.stdout


def test_compare_with_a_conversion_record_lists_what_differs(source, tmp_path):
    target = converted(source, "a.npz")
    other = changed(fc__bias=lambda values: values + 1, bn1__bias=lambda values: values.astype(np.float64))
    other = replace(other, architecture=other.architecture.replace(bn_epsilon=1e-3))
    se_weights.write(other, tmp_path / "other.safetensors")
    for one, detail in (
        (target, "~ fc.bias 3 of 3 values differ, by up to 1"),
        (record_path(target), "~ fc.bias values differ"),
    ):
        ran = se_resnet("compare", one, tmp_path / "other.safetensors")
        assert ran.returncode == 1
        assert detail in ran.stdout
        assert "! bn1.bias float32(4,) against float64(4,)" in ran.stdout
        assert "bn_epsilon" in ran.stdout


def test_compare_counts_values_whose_bits_differ(tmp_path):
    one, other = [np.inf, np.nan, 0.0], [np.inf, np.nan, -0.0]
    for name, values in (("a.npz", one), ("b.npz", other), ("c.npz", [np.inf, 2, 0.0])):
        array = np.array(values, np.float32)
        se_weights.write(changed(fc__bias=lambda _, array=array: array), tmp_path / name)
    ran = se_resnet("compare", tmp_path / "a.npz", tmp_path / "b.npz")
    assert ran.returncode == 1
    assert "~ fc.bias 1 of 3 values differ" in ran.stdout
    ran = se_resnet("compare", tmp_path / "a.npz", tmp_path / "c.npz")
    assert "~ fc.bias 1 of 3 values differ" in ran.stdout
    assert ran.stderr == ""


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_verify_passes_what_was_written_and_finds_what_was_changed(source, suffix):
    target = converted(source, f"a{suffix}")
    ran = se_resnet("verify", target)
    assert ran.returncode == 0, ran
    assert "verified against" in ran.stdout
    other = changed(fc__bias=lambda values: values * 2)
    se_weights.write(other, target, force=True)
    ran = se_resnet("verify", target, "--json")
    facts = json.loads(ran.stdout)
    assert ran.returncode == 1
    assert facts["same"] is False
    assert [line.split()[:2] for line in facts["differences"]] == [["!", "the"], ["~", "fc.bias"]]


def test_verify_finds_a_changed_byte_in_the_metadata(source):
    target = converted(source, "a.safetensors")
    whole = target.read_bytes()
    assert whole.count(b'"source":"source.pth"') == 1
    target.write_bytes(whole.replace(b'"source":"source.pth"', b'"source":"sourcf.pth"'))
    ran = se_resnet("verify", target)
    assert ran.returncode == 1
    assert ran.stdout.startswith("! the file")
    assert "~" not in ran.stdout
    assert se_resnet("compare", target, source).returncode == 0


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".weights.h5", ".npz", ".hf"])
def test_without_a_conversion_record_a_file_is_verified_against_its_metadata(source, suffix):
    target = converted(source, f"a{suffix}")
    record_path(target).unlink()
    ran = se_resnet("verify", target)
    assert ran.returncode == 0, ran
    assert "its own metadata" in ran.stdout


def test_verify_finds_weights_changed_under_unchanged_metadata(source):
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    target = converted(source, "a.safetensors")
    with safe_open(target, "numpy") as file:
        metadata = file.metadata()
    arrays = load_file(target)
    arrays["fc.bias"] = arrays["fc.bias"] + 1
    save_file(arrays, target, metadata=metadata)
    record_path(target).unlink()
    ran = se_resnet("verify", target)
    assert ran.returncode == 1
    assert "~ the weights" in ran.stdout
    assert "changed since se-resnet wrote it" in " ".join(notes(se_weights.read(target)))


def test_a_file_with_neither_conversion_record_nor_metadata_cannot_be_verified(source, tmp_path):
    np.savez(tmp_path / "plain.npz", **tiny_checkpoint().weights)
    ran = se_resnet("verify", tmp_path / "plain.npz")
    assert ran.returncode == 2
    assert "--manifest" in ran.stderr
    target = converted(source, "a.npz")
    ran = se_resnet("verify", tmp_path / "plain.npz", "--manifest", record_path(target))
    assert ran.returncode == 1
    assert ran.stdout.count("\n") == 1  # another file with the same weights


def corrupted(document):
    """The document with fields missing or of a wrong type."""
    odd = [None, 5, -1, 1e400, [], {}, "", "x", [[]], {"x": 1}, [1e400], ["x"]]
    for key in ("schema", "target", "architecture", "weights_sha256", "tensors"):
        yield {name: value for name, value in document.items() if name != key}
        yield from (
            {**document, key: value} for value in odd if key == "schema" or not isinstance(value, type(document[key]))
        )
    name, entry = next(iter(document["tensors"].items()))
    for key in entry:
        for value in odd:
            if value == [] or (key != "shape" and isinstance(value, str)):
                continue  # of the right type
            yield {**document, "tensors": {name: {**entry, key: value}}}


def test_an_invalid_conversion_record_is_malformed(source):
    target = converted(source, "a.npz")
    document = json.loads(record_path(target).read_text())
    texts = [json.dumps(wrong) for wrong in corrupted(document)]
    texts += ["", "{", "[]", "\x00", '{"schema": 1, "schema": 1}', "[" * 100_000]
    for text in texts:
        record_path(target).write_text(text)
        with pytest.raises(MalformedFile) as caught:
            read_conversion_record(record_path(target))
        assert caught.value.id == "manifest.content", text
    ran = se_resnet("verify", target)
    assert ran.returncode == 3
    assert "[manifest.content]" in ran.stderr


def test_invalid_cast_metadata_is_malformed(source, tmp_path):
    from safetensors.numpy import save_file

    for text in ("[1]", "{", "5", '[{"source": "x"}]', '{"a": 1}'):
        path = tmp_path / "odd.safetensors"
        save_file(dict(tiny_checkpoint().weights), path, metadata={"cast": text})
        ran = se_resnet("convert", path, tmp_path / "target.npz", "--manifest")
        assert ran.returncode == 3, (text, ran)
        assert not (tmp_path / "target.npz").exists()


PRECISION = {"float32": (24, -126, 127), "float16": (11, -14, 15), "bfloat16": (8, -126, 127)}
"""Significand bits, and smallest and largest exponent of a normal number (IEEE 754; bfloat16 as in ml_dtypes)."""


def rounded(value: float, dtype: str) -> float:
    """The nearest number of a dtype, ties to even, computed with exact fractions."""
    if value == 0 or not math.isfinite(value):
        return value
    digits, smallest, largest = PRECISION[dtype]
    exact = Fraction(abs(value))
    exponent = max(math.frexp(value)[1] - 1, smallest)
    step = Fraction(2) ** (exponent - digits + 1)
    whole, rest = divmod(exact, step)
    if rest * 2 > step or (rest * 2 == step and whole % 2):
        whole += 1
    nearest = whole * step
    result = math.inf if nearest >= Fraction(2) ** (largest + 1) else float(nearest)
    return math.copysign(result, value)


def hard_values() -> np.ndarray:
    """Random values, and values at and next to the middle between two numbers of each dtype, at several exponents."""
    rng = np.random.default_rng(0)
    values = [rng.normal(size=2000) * 2.0 ** rng.integers(-160, 140, 2000)]
    for digits, smallest, largest in PRECISION.values():
        for exponent in (smallest - digits, smallest - digits + 1, smallest - 3, smallest, 0, 5, largest):
            middles = (2.0 ** (digits - 1) + np.arange(8) + 0.5) * 2.0 ** (exponent - digits + 1)
            small = np.arange(1, 9) / 2 * 2.0 ** (smallest - digits + 1)
            ends = 2.0 ** (largest + 1) * (1 - 2.0 ** -(digits + np.arange(3)))
            for exact in (middles, small, ends):
                values += [exact, np.nextafter(exact, 0), np.nextafter(exact, np.inf), exact * (1 + 2.0**-30)]
    found = np.concatenate(values)
    return np.concatenate([found, -found, [0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, 1.7e308]])


@pytest.mark.parametrize("source", ["float64", "float32", "float16"])
@pytest.mark.parametrize("target", ["float32", "float16", "bfloat16"])
def test_a_value_is_rounded_once_to_the_nearest_and_ties_to_even(source, target):
    with np.errstate(over="ignore", under="ignore"):
        values = hard_values().astype(source)
    found = cast_array(values, DTYPES[target])
    assert found.dtype == DTYPES[target]
    expected = [rounded(float(value), target) for value in values]
    assert np.array_equal(found.astype(np.float64), expected, equal_nan=True)
    assert np.array_equal(np.signbit(found), np.signbit(np.array(expected)))


def test_casting_through_float32_would_round_twice():
    """A value for which rounding to float32 first gives another bfloat16."""
    value = np.array([1 + 2.0**-8 + 2.0**-40])
    assert value.astype(np.float32).astype(ml_dtypes.bfloat16)[0] == 1
    assert cast_array(value, DTYPES["bfloat16"])[0] == 1 + 2.0**-7 == rounded(value[0], "bfloat16")


def test_precision_losses_are_counted():
    before = {"a": np.array([1, 1e6, -1e6, 1e-9, 1e-7, 0, np.inf, np.nan, 2**-24, 1 + 2**-12], np.float32)}
    after = {"a": cast_array(before["a"], DTYPES["float16"])}
    (loss,) = cast_reports(before, after)
    assert (loss.source, loss.target, loss.tensors, loss.values) == ("float32", "float16", 1, 10)
    assert (loss.overflowed, loss.vanished, loss.subnormal, loss.changed) == (2, 1, 2, 5)
    assert loss.relative_error == pytest.approx(2**-12, rel=1e-3)
    assert "2 overflowed to infinity, 1 became zero, 2 subnormal" in str(loss)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_a_cast_is_made_on_request_reported_and_recorded(source, dtype):
    target = source.with_name("a.safetensors")
    ran = se_resnet("convert", source, target, "--dtype", dtype, "--manifest")
    assert ran.returncode == 0, ran
    assert f"float32 to {dtype}" in ran.stdout
    found = se_weights.read(target)
    assert {array.dtype for array in found.weights.values()} == {DTYPES[dtype]}
    (recorded,) = json.loads(record_path(target).read_text())["changes"]["dtypes"]
    (loss,) = recorded_casts(cast_to(dtype)(tiny_checkpoint()))
    assert recorded == json.loads(json.dumps(loss.__dict__))
    assert (loss.changed == 0) is (dtype == "float64")
    assert recorded_casts(found) == [loss]
    ran = se_resnet("compare", source, target)
    assert ran.returncode == 1
    assert ran.stdout.count("! ") == len(tiny_checkpoint().weights)


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"fc__bias": lambda values: np.array([np.nan, 1, 2], np.float32)}, "values that are not finite in fc.bias"),
        ({"fc__bias": lambda values: np.array([1, -np.inf, 2], np.float32)}, "values that are not finite in fc.bias"),
        ({"bn1__running_var": lambda values: -values}, "variances that are not positive in bn1.running_var"),
        ({"bn1__running_var": lambda values: values * 0}, "variances that are not positive in bn1.running_var"),
        ({"conv1__weight": lambda values: values * 0}, "the same value everywhere in conv1.weight"),
        (
            {"layer1__0__se__fc1__weight": lambda values: values * 0 + 2},
            "the same value everywhere in layer1.0.se.fc1.weight",
        ),
    ],
)
def test_implausible_weights_get_a_note_and_are_converted_unchanged(tmp_path, changes, note):
    odd = changed(**changes)
    se_weights.write(odd, tmp_path / "odd.npz")
    assert notes(se_weights.read(tmp_path / "odd.npz")) == [note]
    ran = se_resnet("convert", tmp_path / "odd.npz", tmp_path / "target.pth")
    assert ran.returncode == 0
    assert f"note: {note}" in ran.stdout
    assert weights_sha256(se_weights.read(tmp_path / "target.pth").weights) == weights_sha256(odd.weights)


def test_plausible_weights_get_no_note():
    assert notes(tiny_checkpoint()) == []
