"""The loaders of the frameworks read our files and the reverse; damaged, unsafe and mismatched files are refused."""

import argparse
import io
import os
import pickle
import re
import zipfile
from collections import OrderedDict
from dataclasses import replace

import h5py
import msgpack
import numpy as np
import pytest

import se_spec
import se_weights
from parity_tests.support.cases import skip_without, small_network
from parity_tests.support.frameworks import flax_rngs
from se_parity import compare
from se_weights import (
    AmbiguousDialect,
    AmbiguousPrefix,
    Checkpoint,
    MalformedFile,
    TargetExists,
    UnsafeFile,
    UnsupportedFormat,
    WeightMismatch,
    WeightsError,
    weights_sha256,
)
from se_weights.files.msgpack import headers
from se_weights.files.torch.pickle_opcodes import scan_pickle

BLOCKS = ["basic", "bottleneck"]


@pytest.fixture(params=BLOCKS)
def network(request):
    return small_network(request.param, se_bias=request.param == "basic")


def same(path, network) -> bool:
    return weights_sha256(se_weights.read(path).weights) == weights_sha256(network.weights)


@skip_without("torch")
@pytest.mark.parametrize("mmap", [False, True])
def test_torch_loads_what_we_write_and_we_load_what_it_saves(tmp_path, network, mmap):
    import torch

    import se_torch

    path = tmp_path / "ours.pth"
    se_weights.write(network.checkpoint, path)
    model = se_torch.SEResNet(network.architecture)
    model.load_state_dict(torch.load(path, weights_only=True, mmap=mmap), strict=True)
    assert weights_sha256(se_torch.read_weights(model)) == weights_sha256(network.weights)
    torch.save(model.state_dict(), tmp_path / "theirs.pth")
    assert same(tmp_path / "theirs.pth", network)


@skip_without("torch")
def test_torch_files_with_views_shared_storages_and_parameters_are_read(tmp_path):
    import torch

    architecture = se_spec.architecture("resnet18", depths=(1,), widths=(4,), num_classes=3)
    rng = np.random.default_rng(0)
    checkpoint = Checkpoint(
        architecture, {p.name: rng.normal(size=p.shape).astype("f4") for p in se_spec.manifest(architecture)}
    )
    state = {name: torch.tensor(array) for name, array in checkpoint.weights.items()}
    state["conv1.weight"] = state["conv1.weight"].permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)
    shared = torch.cat([state["bn1.weight"], state["bn1.bias"]])
    state |= {"bn1.weight": shared[:4], "bn1.bias": shared[4:], "fc.weight": torch.nn.Parameter(state["fc.weight"])}
    torch.save(state, tmp_path / "views.pth")
    assert weights_sha256(se_weights.read(tmp_path / "views.pth").weights) == weights_sha256(checkpoint.weights)


@skip_without("torch")
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("holder", [None, "state_dict", "model", "model_ema"])
def test_wrappers_of_training_scripts_are_removed_and_reported(tmp_path, prefix, holder):
    import torch

    network = small_network()
    state = OrderedDict((prefix + name, torch.tensor(array)) for name, array in network.weights.items())
    notes = {"epoch": 3, "best": np.float64(0.9), "args": argparse.Namespace(lr=0.1), "device": torch.device("cpu")}
    whole = {holder: state, "optimizer": {"state": {0: torch.ones(3)}}, **notes} if holder else state
    torch.save(whole, tmp_path / "training.pth")
    checkpoint = se_weights.read(tmp_path / "training.pth")
    assert weights_sha256(checkpoint.weights) == weights_sha256(network.weights)
    expected = ([holder] if holder else []) + [part + "." for part in prefix.split(".") if part]
    assert checkpoint.metadata.get("unwrapped", "").split() == expected


@skip_without("torch")
def test_torchvisions_keys_load_strictly_into_networks_without_se():
    """The key of every tensor of torchvision 0.29's resnet50, written down from its published layout."""
    import torch

    import se_torch

    model = se_torch.create_model("resnet50")
    keys = {"conv1.weight", "fc.weight", "fc.bias"}
    norms = ["bn1"]
    for stage, depth in enumerate((3, 4, 6, 3), start=1):
        for index in range(depth):
            block = f"layer{stage}.{index}"
            keys |= {f"{block}.conv{number}.weight" for number in (1, 2, 3)}
            norms += [f"{block}.bn{number}" for number in (1, 2, 3)]
        keys.add(f"layer{stage}.0.downsample.0.weight")
        norms.append(f"layer{stage}.0.downsample.1")
    words = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    keys |= {f"{norm}.{word}" for norm in norms for word in words}
    assert set(model.state_dict()) == keys
    assert len(keys) == 320
    model.load_state_dict({key: torch.ones_like(value) for key, value in model.state_dict().items()}, strict=True)


@skip_without("tf")
def test_keras_loads_what_we_write_and_we_load_what_it_saves(tmp_path, network):
    import se_tf

    path = tmp_path / "ours.weights.h5"
    se_weights.write(network.checkpoint, path)
    model = se_tf.SEResNet(network.architecture)
    model.load_weights(path)
    assert weights_sha256(se_tf.read_weights(model)) == weights_sha256(network.weights)
    model.save_weights(tmp_path / "theirs.weights.h5")
    assert same(tmp_path / "theirs.weights.h5", network)


@skip_without("tf")
def test_keras_loads_the_archive_that_we_write_and_we_load_what_it_saves(tmp_path, network):
    import keras

    import se_tf

    path = tmp_path / "ours.keras"
    se_weights.write(network.checkpoint, path)
    assert same(path, network)
    loaded = keras.saving.load_model(path)
    assert weights_sha256(se_tf.read_weights(loaded)) == weights_sha256(network.weights)
    loaded.save(tmp_path / "theirs.keras")
    assert same(tmp_path / "theirs.keras", network)
    assert se_weights.read(tmp_path / "theirs.keras").architecture == network.architecture


@skip_without("flax")
def test_flax_loads_what_we_write_and_we_load_what_it_saves(tmp_path, network):
    import jax
    from flax import nnx, serialization

    import se_flax

    path = tmp_path / "ours.msgpack"
    se_weights.write(network.checkpoint, path)
    model = se_flax.SEResNet(network.architecture, rngs=flax_rngs())
    tree = nnx.to_pure_dict(nnx.state(model))
    restored = serialization.from_bytes(tree, path.read_bytes())
    state = nnx.state(model)
    nnx.replace_by_pure_dict(state, restored)
    nnx.update(model, state)
    assert weights_sha256(se_flax.read_weights(model)) == weights_sha256(network.weights)
    (tmp_path / "theirs.msgpack").write_bytes(serialization.to_bytes(jax.tree.map(np.asarray, restored)))
    assert same(tmp_path / "theirs.msgpack", network)


@skip_without("flax")
def test_linen_runs_what_we_write(tmp_path, network):
    import jax
    from flax import nnx, serialization

    import se_flax

    path = tmp_path / "ours.msgpack"
    se_weights.write(network.checkpoint, path, dialect="linen")
    linen = nnx.bridge.to_linen(se_flax.SEResNet, network.architecture)
    images = np.moveaxis(network.images, 1, -1)
    structure = jax.eval_shape(linen.init, jax.random.key(0), images)
    variables = serialization.from_bytes(structure, path.read_bytes())
    evaluating = nnx.bridge.to_linen(evaluated(se_flax.SEResNet), network.architecture)
    assert compare(network.reference, np.asarray(jax.jit(evaluating.apply)(variables, images))).share <= network.limit
    (tmp_path / "theirs.msgpack").write_bytes(serialization.to_bytes(variables))
    assert same(tmp_path / "theirs.msgpack", network)


def evaluated(module):
    """A module that is in evaluation mode from the start, since Linen makes it anew at every call."""

    class Evaluated(module):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.eval()

    return Evaluated


@skip_without("flax")
def test_arrays_that_flax_splits_into_chunks_are_read(tmp_path, monkeypatch):
    from flax import serialization

    from se_weights.files.msgpack import flax_state as ours

    network = small_network()
    tree: dict = {}
    for parameter, place in se_weights.DIALECTS["nnx"].places(network.architecture).items():
        *branches, leaf = place.names[0].split("/")
        branch = tree
        for key in branches:
            branch = branch.setdefault(key, {})
        branch[leaf] = se_weights.relayout(network.weights[parameter.name], parameter.axes, place.axes)
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 256)
    (tmp_path / "chunks.msgpack").write_bytes(serialization.to_bytes(tree))
    assert same(tmp_path / "chunks.msgpack", network)
    monkeypatch.setattr(ours, "CHUNK_BYTES", 256)
    se_weights.write(network.checkpoint, tmp_path / "ours.msgpack")
    assert same(tmp_path / "ours.msgpack", network)
    restored = serialization.msgpack_restore((tmp_path / "ours.msgpack").read_bytes())
    assert np.array_equal(restored["conv1"]["kernel"], tree["conv1"]["kernel"])


@pytest.mark.parametrize("length", [0, 1, 2, 4, 8, 15, 16, 31, 32, 255, 256, 65535, 65536])
def test_msgpack_headers_match_those_of_the_library(length):
    values = {
        headers.TEXT: "x" * length, headers.BYTES: b"x" * length, headers.EXTENSION: msgpack.ExtType(1, b"x" * length),
        headers.ARRAY: [0] * length, headers.MAP: dict.fromkeys(range(length)), headers.INTEGER: length,
    }  # fmt: skip
    for kind, value in values.items():
        assert msgpack.packb(value).startswith(headers.encode_header(kind, length))


@skip_without("flax")
def test_flax_writes_the_same_bytes(tmp_path):
    from flax import serialization

    network = small_network()
    path = tmp_path / "ours.msgpack"
    se_weights.write(network.checkpoint, path)
    assert serialization.to_bytes(serialization.msgpack_restore(path.read_bytes())) == path.read_bytes()


def test_safetensors_and_npz_load_with_their_own_libraries(tmp_path, network):
    from safetensors.numpy import load_file

    for suffix, load in ((".safetensors", load_file), (".npz", np.load)):
        path = tmp_path / f"ours{suffix}"
        se_weights.write(network.checkpoint, path)
        assert weights_sha256(dict(load(path))) == weights_sha256(network.weights)


@pytest.fixture
def good(tmp_path):
    """A valid file of each format."""
    paths = {}
    for suffix in (".pth", ".safetensors", ".weights.h5", ".msgpack", ".npz"):
        paths[suffix] = tmp_path / f"good{suffix}"
        se_weights.write(small_network().checkpoint, paths[suffix])
    return paths


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".weights.h5", ".msgpack", ".npz"])
@pytest.mark.parametrize("share", [0, 0.001, 0.1, 0.9, 0.9999])
def test_a_truncated_file_is_malformed(good, suffix, share):
    path = good[suffix]
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(MalformedFile, match=str(path)):
        se_weights.read(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".weights.h5", ".msgpack", ".npz", ".keras"])
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"version https://git-lfs.github.com/spec/v1\n"])
def test_a_file_of_another_kind_is_malformed(tmp_path, suffix, content):
    path = tmp_path / f"other{suffix}"
    path.write_bytes(content)
    with pytest.raises(MalformedFile, match="other"):
        se_weights.read(path)


@pytest.mark.parametrize("suffix", [".pth", ".npz"])
def test_a_flipped_bit_in_a_zip_is_detected(good, suffix):
    path = good[suffix]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(MalformedFile, match=r"CRC|header"):
        se_weights.read(path)


def test_a_pickle_that_would_call_a_function_is_unsafe(tmp_path, good):
    class Run:
        def __reduce__(self):
            return os.system, ("touch " + str(tmp_path / "ran"),)

    path = tmp_path / "evil.pth"
    with zipfile.ZipFile(good[".pth"]) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = pickle.dumps({"a": Run()}, 2) if name.endswith("data.pkl") else source.read(name)
            target.writestr(name, content)
    with pytest.raises(UnsafeFile, match="system"):
        se_weights.read(path)
    assert not (tmp_path / "ran").exists()


def test_a_link_out_of_an_hdf5_file_is_unsafe(good):
    with h5py.File(good[".weights.h5"], "a") as file:
        file["layers/extra"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(UnsafeFile, match="link"):
        se_weights.read(good[".weights.h5"])


@pytest.mark.parametrize(
    "array",
    [
        (("a",), "float32", b"1234"),
        ((-1,), "float32", b"1234"),
        ((2,), "float32", b"1234"),
    ],
)
def test_a_msgpack_array_with_a_wrong_shape_is_malformed(tmp_path, array):
    path = tmp_path / "lie.msgpack"
    path.write_bytes(msgpack.packb({"conv1": {"kernel": msgpack.ExtType(1, msgpack.packb(array))}}))
    with pytest.raises(MalformedFile, match="lie"):
        se_weights.read(path)


def test_a_wrong_file_lists_what_is_missing_unexpected_and_misshapen(tmp_path):
    network = small_network()
    weights = dict(network.weights)
    weights["head.weight"] = weights.pop("fc.bias")
    weights["layer1.0.conv2.weight"] = weights["layer1.0.conv2.weight"][:, :-1]
    path = tmp_path / "wrong.npz"
    np.savez(path, **weights)
    with pytest.raises(WeightMismatch) as caught:
        se_weights.read(path, architecture=network.architecture)
    assert [line.split()[:2] for line in caught.value.differences] == [
        ["-", "fc.bias"], ["+", "head.weight"], ["!", "layer1.0.conv2.weight"],
    ]  # fmt: skip


def test_integer_weights_are_refused(tmp_path):
    path = tmp_path / "whole.npz"
    np.savez(path, **{name: array.astype(np.int32) for name, array in small_network().weights.items()})
    with pytest.raises(WeightMismatch, match="floating-point"):
        se_weights.read(path)


def test_matches_that_differ_are_ambiguous():
    """An invented dialect with the names of torch and another order of axes: square kernels match both."""
    from se_weights.dialects import TORCH, Place
    from se_weights.reading.recognition import recognise

    def turned(parameter, architecture):
        place = TORCH.place(parameter, architecture)
        return Place(place.names, place.axes.replace("HW", "WH"))

    network = small_network()
    shapes = {name: array.shape for name, array in network.weights.items()}
    table = replace(TORCH.tables["se_resnet"], place=turned)
    with pytest.raises(AmbiguousDialect, match=r"torch: .*\nturned: ") as caught:
        recognise("the file", shapes, [TORCH, replace(TORCH, name="turned", tables={"se_resnet": table})])
    assert list(caught.value.candidates) == ["torch", "turned"]


def test_the_error_for_an_unknown_suffix_or_dialect_lists_the_known_ones(tmp_path):
    (tmp_path / "weights.onnx").write_bytes(b"\x08\x07\x12\x07pytorch")
    with pytest.raises(UnsupportedFormat, match="safetensors"):
        se_weights.read(tmp_path / "weights.onnx")
    path = tmp_path / "weights.npz"
    se_weights.write(small_network().checkpoint, path)
    with pytest.raises(UnsupportedFormat, match="timm"):
        se_weights.read(path, dialect="gluon")
    with pytest.raises(UnsupportedFormat, match="holds the dialect keras"):
        se_weights.write(small_network().checkpoint, tmp_path / "a.weights.h5", dialect="timm")


def test_a_network_that_timm_cannot_load_is_not_written_in_its_dialect(tmp_path):
    for facts, reason in (({}, "squeeze.bias is False"), ({"se_bias": True, "reduction": 4}, "squeeze.reduction is 4")):
        architecture = se_spec.architecture("se_resnet18", depths=(1,), widths=(64,), **facts)
        weights = {p.name: np.ones(p.shape, np.float32) for p in se_spec.manifest(architecture)}
        with pytest.raises(UnsupportedFormat, match=reason):
            se_weights.write(Checkpoint(architecture, weights), tmp_path / "a.pth", dialect="timm")


def test_an_existing_target_is_kept_unless_forced(tmp_path):
    source, target = tmp_path / "a.npz", tmp_path / "b.pth"
    se_weights.write(small_network().checkpoint, source)
    target.write_bytes(b"precious")
    with pytest.raises(TargetExists, match="already exists"):
        se_weights.convert(source, target)
    assert target.read_bytes() == b"precious"
    se_weights.convert(source, target, force=True)
    assert same(target, small_network())
    with pytest.raises(TargetExists, match="source itself"):
        se_weights.convert(target, target, force=True)
    assert same(target, small_network())


def test_a_failed_write_leaves_no_file_and_keeps_the_old_one(tmp_path, monkeypatch):
    from se_weights.files import npz

    def fails(record, header):
        record.write(b"half")
        raise OSError(28, "No space left on device")

    target = tmp_path / "b.npz"
    target.write_bytes(b"precious")
    monkeypatch.setattr(npz.npy, "write_array_header_1_0", fails)
    with pytest.raises(OSError, match="No space"):
        se_weights.write(small_network().checkpoint, target, force=True)
    assert target.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [target]


def test_a_written_file_has_the_permissions_of_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        for suffix in (".safetensors", ".pth", ".npz"):
            path = tmp_path / f"a{suffix}"
            se_weights.write(small_network().checkpoint, path)
            assert path.stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(old)


def test_a_refused_pickle_does_not_change_how_the_next_is_scanned():
    """It appends a deeply nested list to a string; the scan keeps one object for all strings and numbers."""
    nested = pickle.EMPTY_LIST * 65 + pickle.APPEND * 64
    malformed = pickle.PROTO + b"\x02" + pickle.BINUNICODE + b"\x01\0\0\0a" + nested + pickle.APPEND + pickle.STOP
    with pytest.raises(WeightsError, match="levels"):
        scan_pickle(io.BytesIO(malformed))
    scan_pickle(io.BytesIO(pickle.dumps({"epoch": [1, 2]}, 2)))


@pytest.mark.parametrize("name", ["epoch=9-step=100.ckpt", "best.model", "weights", "state.pt.bak"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".npz", ".weights.h5"])
def test_the_content_decides_where_the_suffix_names_no_format(tmp_path, network, name, suffix):
    se_weights.write(network.checkpoint, tmp_path / f"known{suffix}")
    path = (tmp_path / f"known{suffix}").rename(tmp_path / name)
    assert same(path, network)


def test_a_file_that_no_format_begins_like_is_unsupported(tmp_path):
    (tmp_path / "notes").write_text("learning rate 0.1")
    with pytest.raises(UnsupportedFormat, match="no suffix that names a format"):
        se_weights.read(tmp_path / "notes")


LARGER_MODELS = {  # names around those of the network, and what is left out
    "a backbone and a head": ("net.model.{}", {"head.weight", "head.bias"}, "head"),
    "torch.compile of every stage": ("{}", set(), ""),
    "an averaged model": ("module.{}", {"n_averaged"}, "n_averaged"),
    "an application's dictionary": ("app/model/{}", {"app/step"}, "app/step"),
    "a backbone and another kind of head": ("backbone.{}", {"neck.weight", "arcface.weight"}, "arcface neck"),
    "a detector's body": ("backbone.body.{}", {"rpn.conv.weight", "backbone.fpn.0.weight"}, "backbone.fpn rpn"),
}


@skip_without("torch")
@pytest.mark.parametrize("model", LARGER_MODELS)
def test_a_network_inside_a_larger_model_is_read_and_the_rest_is_named(tmp_path, network, model):
    import torch

    around, others, left = LARGER_MODELS[model]
    names = {name: around.format(name) for name in network.weights}
    if not left:
        names = {name: re.sub(r"^(layer\d)\.", r"\1._orig_mod.", name) for name in network.weights}
    state = {names[name]: torch.tensor(array) for name, array in network.weights.items()}
    torch.save({**state, **{name: torch.ones(()) for name in others}}, tmp_path / "larger.pth")
    assert same(tmp_path / "larger.pth", network)
    assert se_weights.read(tmp_path / "larger.pth").metadata.get("left", "") == left


@skip_without("torch")
def test_of_two_networks_in_a_file_one_must_be_named(tmp_path, network):
    import torch

    import se_torch

    teacher = {name: array + 1 for name, array in network.weights.items()}
    models = {"student": network.weights, "teacher": teacher}
    state = {f"{model}.{name}": torch.tensor(array) for model in models for name, array in models[model].items()}
    path = tmp_path / "distilled.pth"
    torch.save({**state, "loss.weight": torch.ones(2)}, path)
    with pytest.raises(AmbiguousPrefix) as caught:
        se_weights.read(path)
    assert caught.value.prefixes == ("student.", "teacher.")
    for model, weights in models.items():
        checkpoint = se_weights.read(path, prefix=model)
        assert weights_sha256(checkpoint.weights) == weights_sha256(weights)
        assert checkpoint.metadata["left"].split() == sorted({"student", "teacher", "loss"} - {model})
        assert weights_sha256(se_torch.read_weights(se_torch.from_file(path, prefix=model))) == weights_sha256(weights)


@skip_without("torch")
def test_a_network_of_a_larger_model_with_an_unexpected_tensor_is_refused(tmp_path, network):
    import torch

    state = {f"net.model.{name}": torch.tensor(array) for name, array in network.weights.items()}
    torch.save({**state, "net.model.layer1.0.gamma": torch.ones(3), "head.weight": torch.ones(2)}, tmp_path / "a.pth")
    with pytest.raises(WeightMismatch, match=r"net\.model"):
        se_weights.read(tmp_path / "a.pth")


@skip_without("torch")
def test_the_prefix_of_the_averaged_weights_chooses_them(tmp_path, network):
    """Without it, the first key of timm's order is read."""
    import torch

    averaged = {name: torch.tensor(array + 1) for name, array in network.weights.items()}
    state = {name: torch.tensor(array) for name, array in network.weights.items()}
    torch.save({"model": state, "model_ema": averaged, "epoch": 3}, tmp_path / "training.pth")
    read = {
        prefix: se_weights.read(tmp_path / "training.pth", prefix=prefix).weights for prefix in ("model", "model_ema")
    }
    assert weights_sha256(read["model"]) == weights_sha256(network.weights)
    assert weights_sha256(read["model_ema"]) == weights_sha256({k: v.numpy() for k, v in averaged.items()})
