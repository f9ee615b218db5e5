"""Conversions between formats, dialects and frameworks keep weights bit for bit."""

import json
from itertools import pairwise, permutations

import h5py
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save, save_file

import se_spec
import se_weights
from parity_tests.support.cases import architecture, skip_without, small_network
from parity_tests.support.frameworks import FRAMEWORKS
from se_spec import manifest
from se_weights import (
    AmbiguousDialect,
    Checkpoint,
    UnsupportedFormat,
    WeightMismatch,
    WriteFailed,
    relayout,
    weights_sha256,
)
from se_weights.files import FileContents, Tensor
from se_weights.files.safetensors import single_file as safetensors
from se_weights.reading.recognition import recognise

SUFFIXES = [".pth", ".pt", ".safetensors", ".weights.h5", ".msgpack", ".npz"]
DIALECTS = {
    ".pth": ["torch", "timm"],
    ".safetensors": ["torch", "timm", "keras", "nnx", "linen"],
    ".npz": ["torch", "timm", "keras", "nnx", "linen"],
    ".msgpack": ["nnx", "linen"],
    ".weights.h5": ["keras"],
}


SWEEP = pytest.mark.sweep
INFERABLE = ["se_resnet34 of the tutorials", "se_resnet18 with biases", "se_resnet50 of one channel"]
"""Cases whose complete config can be inferred from the tensors."""


def numbered(architecture) -> Checkpoint:
    """Weights in which all values of the network differ, so that every swap is detected."""
    weights, count = {}, 1
    for parameter in manifest(architecture):
        size = int(np.prod(parameter.shape))
        values = np.arange(count, count + size, dtype=np.uint32)
        weights[parameter.name] = values.view(np.float32).reshape(parameter.shape)
        count += size
    return Checkpoint(architecture, weights)


@pytest.mark.parametrize(("source", "target"), list(permutations(FRAMEWORKS, 2)))
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_weights_are_bit_exact_between_any_two_frameworks(source, target, block):
    for name in (source, target):
        if skip_without(name).args[0]:
            pytest.skip(skip_without(name).kwargs["reason"])
    checkpoint = numbered(small_network(block, se_bias=True).architecture)
    one, other = FRAMEWORKS[source], FRAMEWORKS[target]
    first = one.package.SEResNet(checkpoint.architecture, **one.options())
    second = other.package.SEResNet(checkpoint.architecture, **other.options())
    one.package.load_weights(first, checkpoint.weights)
    other.package.load_weights(second, one.package.read_weights(first))
    assert weights_sha256(other.package.read_weights(second)) == weights_sha256(checkpoint.weights)


@pytest.mark.parametrize(
    "case", ["se_resnet18 with biases", "se_resnet50 of one channel", "resnet34", "se_resnet110_cifar"]
)
def test_a_chain_of_conversions_through_every_format_returns_the_same_weights(tmp_path, case):
    checkpoint = numbered(architecture(case))
    paths = [tmp_path / f"{step}{suffix}" for step, suffix in enumerate([*SUFFIXES, ".pth"])]
    se_weights.write(checkpoint, paths[0])
    for source, target in pairwise(paths):
        se_weights.convert(source, target)
    final = se_weights.read(paths[-1])
    assert final.architecture == checkpoint.architecture
    assert weights_sha256(final.weights) == weights_sha256(checkpoint.weights)


@pytest.mark.parametrize(
    ("suffix", "dialect"), [(suffix, name) for suffix, names in DIALECTS.items() for name in names]
)
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_every_format_stores_its_dialects(tmp_path, suffix, dialect, block):
    name, squeeze = {"basic": ("se_resnet18", "round8"), "bottleneck": ("se_resnet50", "floor")}[block]
    checkpoint = numbered(se_spec.architecture(name, se_bias=True, squeeze=squeeze))
    path = tmp_path / f"weights{suffix}"
    se_weights.write(checkpoint, path, dialect=dialect)
    read = se_weights.read(path)
    assert read.dialect == dialect
    assert read.architecture == checkpoint.architecture
    assert weights_sha256(read.weights) == weights_sha256(checkpoint.weights)


@pytest.mark.parametrize("dialect", ["torch", *(pytest.param(name, marks=SWEEP) for name in ("keras", "nnx", "linen"))])
@pytest.mark.parametrize("case", [*se_spec.list_architectures(), *INFERABLE])
def test_every_architecture_is_recognised_from_its_tensors_alone(case, dialect):
    known = architecture(case)
    chosen = se_weights.DIALECTS[dialect]
    shapes = chosen.shapes(known)
    if case == "ecaresnetlight" and dialect == "torch":  # whose shortcuts average, unlike timm's of these names
        with pytest.raises(AmbiguousDialect):
            recognise("the file", shapes, se_weights.DIALECTS.values())
        return
    reading = recognise("the file", shapes, se_weights.DIALECTS.values())
    if getattr(known, "antialias", "none") != "none":  # which no tensor shows
        hidden = {"antialias": known.antialias, "shortcut.averages": known.shortcut.averages}
        assert reading.with_settings(hidden).architecture == known
        return
    assert reading.architecture == known
    assert reading.dialect.places(known) == chosen.places(known)


@pytest.mark.parametrize("dialect", ["torch", "keras", "keras-h5", "nnx", "linen"])
@pytest.mark.parametrize("input_norm", [False, True])
def test_a_norm_of_the_images_is_told_from_that_of_a_stem_with_as_many_channels(dialect, input_norm):
    sizes = {"depths": (1, 1), "widths": (8, 16), "reduction": 4, "in_channels": 8, "num_classes": 3}
    known = se_spec.architecture("se_preresnet18", **sizes, input_norm=input_norm)
    reading = recognise("the file", se_weights.DIALECTS[dialect].shapes(known), [se_weights.DIALECTS[dialect]])
    assert reading.architecture.function_key() == known.function_key()


def test_unnamed_architectures_are_recognised_too(tmp_path):
    known = se_spec.SEResNetArchitecture(
        name="unnamed", block="bottleneck", depths=(1, 3, 2), widths=(8, 24, 40), num_classes=3
    )
    known = known.replace(stem="3x3", reduction=8)
    for suffix in SUFFIXES:
        path = tmp_path / f"weights{suffix}"
        se_weights.write(numbered(known), path)
        stored = se_weights.read(path)
        assert stored.architecture == known


@pytest.mark.parametrize("widths", [(24, 8), (8, 8, 16)])
def test_stages_need_not_get_wider_where_tensor_names_contain_the_stage(tmp_path, widths):
    known = se_spec.architecture("se_resnet18", depths=(2,) * len(widths), widths=widths, reduction=2, num_classes=3)
    for suffix in (".pth", ".msgpack"):
        se_weights.write(numbered(known), tmp_path / f"a{suffix}")
        assert se_weights.read(tmp_path / f"a{suffix}").architecture.function_key() == known.function_key()


def test_a_named_architecture_takes_its_sizes_from_the_tensors(tmp_path):
    checkpoint = numbered(se_spec.architecture("se_resnet18", num_classes=3, in_channels=1))
    path = tmp_path / "weights.msgpack"
    se_weights.write(checkpoint, path)
    assert se_weights.read(path, architecture="se_resnet18").architecture == checkpoint.architecture
    with pytest.raises(WeightMismatch, match="is not a se_resnet34"):
        se_weights.read(path, architecture="se_resnet34")


def test_metadata_is_kept_through_conversions_and_names_the_source(tmp_path):
    first, second, third = (tmp_path / name for name in ("a.pth", "b.safetensors", "c.weights.h5"))
    checkpoint = numbered(small_network().architecture)
    se_weights.write(checkpoint, first)
    se_weights.convert(first, second)
    se_weights.convert(second, third)
    metadata = se_weights.read(third).metadata
    assert json.loads(metadata["architecture"]) == checkpoint.architecture.to_dict()
    assert metadata["tool"] == f"se-resnet {se_spec.__version__}"
    with h5py.File(third) as file:
        recorded = json.loads(file.attrs["se_resnet"])
    assert recorded["source"] == "b.safetensors"
    assert recorded["source_sha256"] == se_weights.file_sha256(second)
    assert recorded["dialect"] == "keras"


def test_a_transposed_view_is_written_in_logical_order(tmp_path):
    """safetensors 0.8.0 writes the memory of a view and ignores its strides."""
    square = np.arange(9, dtype=np.float32).reshape(3, 3).T
    path = tmp_path / "view.safetensors"
    save_file({"square": square}, path)
    assert not np.array_equal(load_file(path)["square"], square), "safetensors is fixed: its own writer can be used"
    safetensors.write(path, FileContents({"square": Tensor.of(square)}))
    assert np.array_equal(load_file(path)["square"], square)


def test_a_file_that_reads_back_differently_is_not_kept(tmp_path, monkeypatch):
    """Only reading back detects a writer that ignores strides, as that of safetensors 0.8.0 does."""

    def careless(path, stored):
        path.write_bytes(save({name: np.asfortranarray(tensor.load()) for name, tensor in stored.tensors.items()}))

    monkeypatch.setattr(safetensors, "write", careless)
    with pytest.raises(WriteFailed, match="reading it back gave other values"):
        se_weights.write(numbered(small_network().architecture), tmp_path / "weights.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_other_float_types_are_kept_or_refused(tmp_path, dtype, suffix):
    network = small_network()
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    weights = {name: array.astype(kind) for name, array in network.weights.items()}
    path = tmp_path / f"weights{suffix}"
    if (suffix, dtype) == (".npz", "bfloat16"):
        with pytest.raises(UnsupportedFormat, match="cannot hold bfloat16"):
            se_weights.write(Checkpoint(network.architecture, weights), path)
        return
    se_weights.write(Checkpoint(network.architecture, weights), path)
    assert weights_sha256(se_weights.read(path).weights) == weights_sha256(weights)


def test_nan_payloads_and_signed_zeros_survive(tmp_path):
    checkpoint = numbered(small_network().architecture)
    odd = np.array([0x7FC00001, 0xFFC12345, 0x80000000, 0x00000001, 0x7F800000], np.uint32).view(np.float32)
    checkpoint.weights["fc.bias"][:] = odd
    path = tmp_path / "a.pth"
    se_weights.write(checkpoint, path)
    for suffix in SUFFIXES:
        target = tmp_path / f"b{suffix}"
        se_weights.convert(path, target)
        assert se_weights.read(target).weights["fc.bias"].view(np.uint32).tolist() == odd.view(np.uint32).tolist()


def test_weights_changed_after_reading_are_hashed_anew(tmp_path):
    path = tmp_path / "a.safetensors"
    se_weights.write(numbered(small_network().architecture), path)
    checkpoint = se_weights.read(path)
    checkpoint.weights["fc.bias"][:] = 7
    se_weights.write(checkpoint, tmp_path / "b.safetensors")
    again = se_weights.read(tmp_path / "b.safetensors")
    assert again.metadata["weights_sha256"] == weights_sha256(again.weights) == weights_sha256(checkpoint.weights)
    assert se_weights.read(path, hashed=True).hashes == se_weights.read(path).hashes


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", ">f8"])
@pytest.mark.parametrize("shape", [(70, 33, 3, 1), (3, 3, 31, 97), (1, 1, 65, 64), (40, 2, 5, 3), (0, 70, 1, 1)])
def test_relayout_moves_every_value_of_arrays_longer_than_a_chunk(shape, dtype):
    kernel = np.arange(np.prod(shape)).reshape(shape).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    for source, target, permutation in (("OIHW", "HWIO", (2, 3, 1, 0)), ("HWIO", "OIHW", (3, 2, 0, 1))):
        moved = relayout(kernel, source, target)
        assert moved.dtype == kernel.dtype
        assert moved.flags.c_contiguous
        assert moved.tobytes() == kernel.transpose(permutation).tobytes()


def test_relayout_names_axes_that_differ():
    kernel = np.arange(24).reshape(2, 3, 2, 2)
    assert np.array_equal(relayout(kernel, "OIHW", "HWIO"), kernel.transpose(2, 3, 1, 0))
    assert relayout(kernel, "OIHW", "HWIO").flags.c_contiguous
    assert relayout(kernel[0, :, :, 0], "OI", "OI11").shape == (3, 2, 1, 1)
    for arguments in ((kernel, "OI", "IO"), (kernel, "OIHW", "HWI"), (kernel, "O1HW", "OHW")):
        with pytest.raises(ValueError, match="axes"):
            relayout(*arguments)
