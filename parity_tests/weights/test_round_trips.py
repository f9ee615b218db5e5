"""Conversions from every format to every other, and exchange of files with the loaders of the frameworks."""

import json
import subprocess
import sys
import zipfile
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import se_weights
from parity_tests.spec.test_imports import HEAVY
from parity_tests.support.cases import architecture, skip_without
from parity_tests.support.frameworks import FRAMEWORKS
from parity_tests.support.isolated_process import run_isolated
from parity_tests.weights.test_conversion import numbered
from se_weights import Checkpoint, MalformedFile, SourceChanged, UnsupportedFormat, weights_sha256

CASES = {
    "basic": "se_resnet18 of timm's legacy",
    "bottleneck": "se_resnet50 with another epsilon",
    "grouped": "se_resnext26t, small",
    "deep stem": "senet154, small",
}
SUFFIXES = [".pth", ".safetensors", ".weights.h5", ".msgpack", ".npz", ".hf"]
SHARD_BYTES = 5000
SWEEP = pytest.mark.sweep

FRAMED = list(product(CASES, [".npz", ".hf", ".keras"]))
"""Sources of `.keras` archives, which only Keras writes; test_files.py tests them in every run."""

FRAMES = pytest.mark.parametrize("case", [pytest.param(case, marks=SWEEP) for case in CASES])
"""For frameworks whose models are slow to make; test_files.py tests basic and bottleneck in every run."""


@cache
def checkpoint(case: str) -> Checkpoint:
    return numbered(architecture(CASES[case]))


@pytest.fixture(params=CASES)
def case(request) -> str:
    return request.param


def write(checkpoint: Checkpoint, path: Path) -> Path:
    se_weights.write(checkpoint, path, shard_bytes=SHARD_BYTES if path.suffix == ".hf" else None)
    return path


def expect_same(path: Path, case: str, architecture=None) -> None:
    found = se_weights.read(path, architecture=architecture)
    assert weights_sha256(found.weights) == weights_sha256(checkpoint(case).weights)
    assert found.architecture.function_key() == checkpoint(case).architecture.function_key()


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[] if case in ("basic", "deep stem") else SWEEP) for case in CASES]
)
def test_every_format_converts_to_every_other_bit_for_bit(tmp_path, case):
    """Every target is read back and compared with the source."""
    expected = weights_sha256(checkpoint(case).weights)
    pairs = 0
    for one in SUFFIXES:
        source = write(checkpoint(case), tmp_path / f"source{one}")
        expect_same(source, case)
        for other in SUFFIXES:
            target = tmp_path / f"from {one[1:]}{other}"
            se_weights.convert(source, target, shard_bytes=SHARD_BYTES if other == ".hf" else None)
            expect_same(target, case)
            pairs += 1
    assert len(list((tmp_path / "from pth.hf").glob("model-*"))) > 2
    print(f"\n{case}: {pairs} ordered pairs, every canonical sha256 {expected[:16]}")


@skip_without("tf")
@SWEEP
@pytest.mark.parametrize(("case", "one"), FRAMED)
def test_keras_archives_convert_to_and_from_every_format(tmp_path, case, one):
    source = write(checkpoint(case), tmp_path / f"source{one}")
    se_weights.convert(source, tmp_path / "target.keras")
    expect_same(tmp_path / "target.keras", case)
    for suffix in SUFFIXES:
        se_weights.convert(tmp_path / "target.keras", tmp_path / f"back{suffix}")
        expect_same(tmp_path / f"back{suffix}", case)


def frameworks_after_converting(folder: Path) -> set[str]:
    checkpoint = numbered(architecture("se_resnet18 of timm's legacy"))
    for one in SUFFIXES:
        write(checkpoint, folder / f"a{one}")
        for other in SUFFIXES:
            se_weights.convert(folder / f"a{one}", folder / f"b{other}", manifest=True, force=True)
    return HEAVY & set(sys.modules)


def test_no_conversion_imports_a_framework(tmp_path):
    assert run_isolated(frameworks_after_converting, tmp_path) == set()


def model_of(framework: str, case: str):
    """A model of the case's architecture, with initial weights."""
    framework = FRAMEWORKS[framework]
    return framework.package.SEResNet(checkpoint(case).architecture, **framework.options())


def holds(framework: str, model, case: str) -> bool:
    return weights_sha256(FRAMEWORKS[framework].package.read_weights(model)) == weights_sha256(checkpoint(case).weights)


@skip_without("torch")
def test_torch_loads_every_architecture_and_its_files_are_read(tmp_path, case):
    import torch

    state = torch.load(write(checkpoint(case), tmp_path / "ours.pth"), weights_only=True)
    model = model_of("torch", case)
    model.load_state_dict(state, strict=True)
    assert holds("torch", model, case)
    torch.save(model.state_dict(), tmp_path / "theirs.pth")
    expect_same(tmp_path / "theirs.pth", case, checkpoint(case).architecture)


@skip_without("torch")
def test_safetensors_loads_every_architecture_and_its_files_are_read(tmp_path, case):
    from safetensors.torch import load_file, save_file

    model = model_of("torch", case)
    model.load_state_dict(load_file(write(checkpoint(case), tmp_path / "ours.safetensors")), strict=True)
    assert holds("torch", model, case)
    save_file(model.state_dict(), tmp_path / "theirs.safetensors")
    expect_same(tmp_path / "theirs.safetensors", case, checkpoint(case).architecture)


@skip_without("tf")
@FRAMES
def test_keras_loads_every_architecture_and_its_files_are_read(tmp_path, case):
    model = model_of("tf", case)
    model.load_weights(write(checkpoint(case), tmp_path / "ours.weights.h5"))
    assert holds("tf", model, case)
    model.save_weights(tmp_path / "theirs.weights.h5")
    expect_same(tmp_path / "theirs.weights.h5", case, checkpoint(case).architecture)
    model.save(tmp_path / "theirs.keras")
    expect_same(tmp_path / "theirs.keras", case)
    with zipfile.ZipFile(tmp_path / "theirs.keras") as archive:
        archive.extractall(tmp_path / "folder")
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == [
        "config.json", "metadata.json", "model.weights.h5",
    ]  # fmt: skip
    expect_same(tmp_path / "folder", case, checkpoint(case).architecture)


@skip_without("flax")
@FRAMES
def test_flax_loads_every_architecture_and_its_files_are_read(tmp_path, case):
    import jax
    from flax import nnx, serialization

    path = write(checkpoint(case), tmp_path / "ours.msgpack")
    model = model_of("flax", case)
    state = nnx.state(model, nnx.Not(nnx.RngState))
    restored = serialization.from_bytes(nnx.to_pure_dict(state), path.read_bytes())
    nnx.replace_by_pure_dict(state, restored)
    nnx.update(model, state)
    assert holds("flax", model, case)
    (tmp_path / "theirs.msgpack").write_bytes(serialization.to_bytes(jax.tree.map(np.asarray, restored)))
    expect_same(tmp_path / "theirs.msgpack", case, checkpoint(case).architecture)


def test_numpy_loads_every_architecture_and_its_files_are_read(tmp_path, case):
    with np.load(write(checkpoint(case), tmp_path / "ours.npz")) as arrays:
        held = dict(arrays)
    assert weights_sha256(held) == weights_sha256(checkpoint(case).weights)
    for name, save in (("theirs", np.savez), ("packed", np.savez_compressed)):
        save(tmp_path / f"{name}.npz", **held)
        expect_same(tmp_path / f"{name}.npz", case, checkpoint(case).architecture)


@skip_without("torch")
@pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")  # dcp.load without processes says so
def test_torchs_dcp_loads_every_architecture_and_its_files_are_read(tmp_path, case):
    import torch.distributed.checkpoint as dcp

    model = model_of("torch", case)
    state = {name: tensor for name, tensor in model.state_dict().items() if name in checkpoint(case).weights}
    dcp.load(state, storage_reader=dcp.HuggingFaceStorageReader(str(write(checkpoint(case), tmp_path / "ours.hf"))))
    model.load_state_dict(state, strict=False)
    assert holds("torch", model, case)
    for whole in (True, False):
        folder = tmp_path / f"theirs, {whole}"
        writer = dcp.HuggingFaceStorageWriter(
            str(folder),
            fqn_to_index_mapping={name: 1 + number % 3 for number, name in enumerate(state)} if whole else None,
            save_distributed=not whole,
        )
        dcp.save(state, storage_writer=writer)
        expect_same(folder, case, checkpoint(case).architecture)
    dcp.save({"app": {"model": model.state_dict(), "step": 3}}, checkpoint_id=tmp_path / "own")
    expect_same(tmp_path / "own", case, checkpoint(case).architecture)


RANK = """
import os, sys, torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, Replicate, distribute_tensor
from safetensors.torch import load_file
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
mesh = init_device_mesh("cpu", (2,))
state = {}
for number, (name, tensor) in enumerate(load_file(f"{folder}/source.safetensors").items()):
    axis = number % tensor.dim()
    state[name] = distribute_tensor(tensor, mesh, [Shard(axis) if tensor.shape[axis] > 1 else Replicate()])
dcp.save(state, storage_writer=dcp.HuggingFaceStorageWriter(f"{folder}/safetensors", save_distributed=True))
dcp.save({"model": state}, checkpoint_id=f"{folder}/filesystem")
dist.barrier()
dist.destroy_process_group()
os._exit(0)  # torch's threads may outlive the interpreter, and then abort it
"""


@skip_without("torch")
@SWEEP
def test_a_checkpoint_saved_in_parts_by_two_processes_is_read(tmp_path, case):
    write(checkpoint(case), tmp_path / "source.safetensors")
    ranks = [
        subprocess.Popen([sys.executable, "-c", RANK, str(rank), str(tmp_path)], stderr=subprocess.PIPE)
        for rank in (0, 1)
    ]
    errors = [process.communicate(timeout=120)[1].decode() for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], errors
    for name, suffix in (("safetensors", ".safetensors"), ("filesystem", ".distcp")):
        assert len(list((tmp_path / name).glob(f"*{suffix}"))) == 2
        expect_same(tmp_path / name, case, checkpoint(case).architecture)


def published(folder: Path, case: str) -> Path:
    """A folder as timm publishes it: canonical names, no metadata, and a config.json of timm."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    save_file(dict(checkpoint(case).weights), folder / "model.safetensors")
    config = {"architecture": "seresnet50", "num_classes": 5, "pretrained_cfg": {"input_size": [3, 224, 224]}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


OTHER_FUNCTIONS = {  # what timm saves of networks that have the tensors of plain ones
    "a blur padded with zeros": {"architecture": "seresnet50", "model_args": {"aa_layer": "blurpc"}},
    "an output stride of 4": {"architecture": "seresnet50", "model_args": {"output_stride": 4}},
    "another activation": {"architecture": "seresnet50", "model_args": {"act_layer": "silu"}},
    "another pool": {"architecture": "seresnet50", "global_pool": "max"},
}


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("other", OTHER_FUNCTIONS)
def test_a_folder_of_a_network_that_computes_otherwise_is_refused(tmp_path, case, other, named):
    folder = published(tmp_path / "folder", case)
    (folder / "config.json").write_text(json.dumps(OTHER_FUNCTIONS[other]))
    path = folder / "model.safetensors" if named else folder
    with pytest.raises(UnsupportedFormat, match=r"config\.json says"):
        se_weights.read(path)
    known = checkpoint(case).architecture
    assert se_weights.read(path, architecture=known).architecture == known


ANTI_ALIASED = {
    "a name of a published network": ({"architecture": "seresnextaa101d_32x8d"}, "mean"),
    "a name of a later release": ({"architecture": "seresnetblur50t"}, "blur"),
    "an option": ({"architecture": "seresnet50", "model_args": {"aa_layer": "avg"}}, "mean"),
    "no pool": ({"architecture": "seresnet50", "model_args": {"aa_layer": None}}, "none"),
}


@pytest.mark.parametrize("known", ANTI_ALIASED)
def test_a_config_tells_which_pool_strides(tmp_path, case, known):
    config, pool = ANTI_ALIASED[known]
    folder = published(tmp_path / "folder", case)
    (folder / "config.json").write_text(json.dumps(config))
    assert se_weights.read(folder).architecture.antialias == pool


def test_a_config_that_is_no_json_is_refused(tmp_path, case):
    folder = published(tmp_path / "folder", case)
    (folder / "config.json").write_text("{")
    with pytest.raises(MalformedFile, match=r"config\.json|not JSON"):
        se_weights.read(folder)


def cached(root: Path, case: str) -> Path:
    """The same in the Hugging Face cache: links in a snapshot to files named by hash in `blobs`."""
    plain = published(root / "plain", case)
    blobs, snapshot = root / "models--x" / "blobs", root / "models--x" / "snapshots" / "0123abcd"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, path in enumerate(sorted(plain.iterdir())):
        path.rename(blobs / f"{number:040x}")
        (snapshot / path.name).symlink_to(Path("..", "..", "blobs", f"{number:040x}"))
    return snapshot


@pytest.mark.parametrize("made", [published, cached])
def test_a_published_folder_is_read(tmp_path, case, made):
    folder = made(tmp_path / "folder", case)
    expect_same(folder, case, checkpoint(case).architecture)
    target = tmp_path / "a.npz"
    written = se_weights.convert(folder, target, architecture=checkpoint(case).architecture)
    expect_same(target, case)
    assert written.metadata["source_sha256"] == se_weights.file_sha256(folder)


def test_a_cached_blob_that_changes_while_it_is_read_is_detected(tmp_path, monkeypatch):
    folder = cached(tmp_path / "folder", "basic")
    blob = (folder / "model.safetensors").resolve()
    reading = sys.modules["se_weights.reading.read"]
    unwrap = reading.unwrap

    def meanwhile(tensors):
        blob.write_bytes(blob.read_bytes())
        return unwrap(tensors)

    monkeypatch.setattr(reading, "unwrap", meanwhile)
    with pytest.raises(SourceChanged):
        se_weights.read(folder, architecture=checkpoint("basic").architecture)
