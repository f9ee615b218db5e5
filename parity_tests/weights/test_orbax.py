"""Orbax checkpoints: Orbax restores ours, we read those that Flax users save, and corrupted ones are refused."""

import json
import os
import shutil
import stat
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import se_weights
from parity_tests.support.cases import skip_without, small_network
from se_weights import DIALECTS, MissingExtra, WeightsError, WriteFailed, relayout, weights_sha256
from se_weights.files.contents import FileContents, Tensor
from se_weights.files.orbax import checkpoint as orbax
from se_weights.files.orbax import folder as orbax_folder
from se_weights.files.orbax.folder import COMMITTED, DATABASE, STEP, TREE, is_orbax

pytestmark = skip_without("flax")

METADATA = {"architecture": '{"name": "se_resnet50"}', "dialect": "nnx", "source": "größe.pth"}


def tree_of(network, dialect="nnx"):
    """The arrays of a network in a dialect, by name."""
    return {
        place.names[0]: np.ascontiguousarray(relayout(network.weights[parameter.name], parameter.axes, place.axes))
        for parameter, place in DIALECTS[dialect].places(network.architecture).items()
    }


def written(path, arrays, metadata=METADATA):
    orbax.write(path, FileContents({name: Tensor.of(array) for name, array in arrays.items()}, metadata))
    return path


def read(path):
    with orbax.open_contents(path) as stored:
        return {name: tensor.load() for name, tensor in stored.tensors.items()}, dict(stored.metadata)


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and np.array_equal(one[name], other[name]) for name in one
    )


def refusal(path) -> str:
    """The refusal id that reading a folder raises."""
    with pytest.raises(WeightsError) as caught:
        read(path)
    assert "Traceback" not in str(caught.value)
    return caught.value.id


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """A folder that we wrote, renamed afterwards."""
    written(tmp_path_factory.mktemp("ours") / "meanwhile", tree_of(small_network())).rename(
        path := tmp_path_factory.mktemp("renamed") / "ours.orbax"
    )
    return path


def test_a_renamed_folder_is_read_with_its_metadata(ours):
    assert is_orbax(ours)
    arrays, metadata = read(ours)
    assert same(arrays, tree_of(small_network()))
    assert metadata == METADATA


def test_orbax_restores_what_we_write_into_the_state_of_an_nnx_module(ours):
    import orbax.checkpoint as ocp
    from flax import nnx

    import se_flax

    network = small_network()
    graph, state = nnx.split(nnx.eval_shape(lambda: se_flax.SEResNet(network.architecture, rngs=nnx.Rngs(0))))
    with ocp.StandardCheckpointer() as checkpointer:
        model = nnx.merge(graph, checkpointer.restore(ours, state))
    assert weights_sha256(se_flax.read_weights(model)) == weights_sha256(network.weights)


def test_orbax_restores_what_we_write_as_linen_variables(tmp_path):
    import orbax.checkpoint as ocp
    from flax.traverse_util import flatten_dict

    arrays = tree_of(small_network(), "linen")
    path = written(tmp_path / "linen.orbax", arrays)
    with ocp.StandardCheckpointer() as checkpointer:
        assert same(flatten_dict(checkpointer.restore(path), sep="/"), arrays)
    assert same(read(path)[0], arrays)


def test_every_float_type_is_written_and_read_unchanged(tmp_path):
    arrays = {
        f"layers/{dtype}": np.array([[1.5, -0.0], [float("nan"), 3.0]]).astype(dtype)
        for dtype in ("float16", "float32", "float64", ml_dtypes.bfloat16)
    }
    found, _ = read(written(tmp_path / "types.orbax", arrays | {"scalar": np.array(2.5)}))
    assert found["scalar"].shape == ()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].tobytes() == array.tobytes()


def save(path, tree, **options):
    import orbax.checkpoint as ocp

    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(**options)) as checkpointer:
        checkpointer.save(path, ocp.args.PyTreeSave(tree))
    return path


def save_standard(path, tree):
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, tree)
    return path


def save_steps(path, tree, steps=(7,), item=None):
    import orbax.checkpoint as ocp

    with ocp.CheckpointManager(path, item_names=(item, "notes") if item else None) as manager:
        for step in steps:
            kept = ocp.args.StandardSave(tree)
            notes = {"notes": ocp.args.JsonSave({"epoch": step})}
            manager.save(step, args=ocp.args.Composite(**{item: kept}, **notes) if item else kept)
        manager.wait_until_finished()
    return path


def save_with_optimiser(path, model):
    import optax
    from flax import nnx

    optimiser = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)
    return save_standard(path, {"model": nnx.state(model), "optimizer": nnx.state(optimiser)})


def save_sharded_elsewhere(path, state):
    save_standard(path, state)
    sharding = json.loads((path / "_sharding").read_text())
    elsewhere = json.dumps({"sharding_type": "SingleDeviceSharding", "device_str": "TPU_99(process=3)"})
    (path / "_sharding").write_text(json.dumps(dict.fromkeys(sharding, elsewhere)))
    return path


NNX_WAYS = {
    "a state": lambda path, model, nnx: save_standard(path, nnx.state(model)),
    "a pure dict": lambda path, model, nnx: save_standard(path, nnx.to_pure_dict(nnx.state(model))),
    "the module itself": lambda path, model, nnx: save_standard(path, model),
    "by PyTreeCheckpointer": lambda path, model, nnx: save(path, nnx.state(model)),
    "without OCDBT": lambda path, model, nnx: save(path, nnx.state(model), use_ocdbt=False),
    "in zarr 3": lambda path, model, nnx: save(path, nnx.state(model), use_zarr3=True),
    "in zarr 3 without OCDBT": lambda path, model, nnx: save(path, nnx.state(model), use_zarr3=True, use_ocdbt=False),
    "in a run of one step": lambda path, model, nnx: save_steps(path, nnx.state(model)),
    "as a step": lambda path, model, nnx: save_steps(path, nnx.state(model), (1, 2)) / "2",
    "as an item": lambda path, model, nnx: save_steps(path, nnx.state(model), (1, 2)) / "2" / "default",
    "as an item among others": lambda path, model, nnx: save_steps(path, nnx.state(model), item="state"),
    "from devices that are not here": lambda path, model, nnx: save_sharded_elsewhere(path, nnx.state(model)),
    "beside an optimiser": lambda path, model, nnx: save_with_optimiser(path, model),
}


@pytest.fixture(scope="module")
def model():
    """With dropout, so that its state also contains random number streams."""
    from se_flax.weights import empty_model, load_weights

    network = small_network()
    model = empty_model(replace(network.architecture, dropout=0.1, drop_path=0.1))
    load_weights(model, network.weights)
    return model


@pytest.mark.parametrize("way", NNX_WAYS)
def test_an_nnx_model_is_read_however_it_was_saved(tmp_path, model, way):
    from flax import nnx

    path = NNX_WAYS[way](tmp_path / "theirs", model, nnx)
    assert is_orbax(path)
    arrays, metadata = read(path)
    holder = "model/" if "optimiser" in way else ""
    assert same(arrays, {f"{holder}{name}": array for name, array in tree_of(small_network()).items()})
    optimizer = ["optimizer"] if holder else []
    random = [
        f"{holder}{'/'.join(map(str, keys))}/rngs/{what}"
        for keys, module in nnx.iter_modules(model)
        if isinstance(module, nnx.Dropout)
        for what in ("count", "key")
    ]
    assert metadata["left"].split() == sorted(random + optimizer)


@pytest.mark.parametrize("way", ["variables", "a training state", "by flax.training.checkpoints"])
def test_linen_variables_are_read_however_they_were_saved(tmp_path, way):
    import optax
    from flax.training import checkpoints, train_state
    from flax.traverse_util import unflatten_dict

    class TrainState(train_state.TrainState):
        batch_stats: dict

    arrays = tree_of(small_network(), "linen")
    variables = unflatten_dict(arrays, sep="/")
    path = tmp_path / "theirs"
    match way:
        case "variables":
            save_standard(path, variables)
        case "a training state":
            save_standard(path, TrainState.create(apply_fn=None, tx=optax.adam(1e-3), **variables))
        case "by flax.training.checkpoints":
            checkpoints.save_checkpoint(path, variables, step=5)
    found, metadata = read(path)
    assert same(found, arrays)
    expected = {"a training state": {"left": "opt_state step"}, "variables": {}}
    assert metadata == expected.get(way, {"opened": "checkpoint_5"})


# Refusals: a small folder of each layout, corrupted in one place.

LAYOUTS = {
    "ocdbt": {},
    "zarr": {"use_ocdbt": False},
    "ocdbt of zarr 3": {"use_zarr3": True},
    "zarr 3": {"use_ocdbt": False, "use_zarr3": True},
}

EACH_LAYOUT = [pytest.param(name, marks=[] if name == next(iter(LAYOUTS)) else pytest.mark.sweep) for name in LAYOUTS]


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    import jax.numpy as jnp

    folder = tmp_path_factory.mktemp("layouts")
    tree = {"conv1": {"kernel": jnp.arange(1.0, 5001.0).reshape(50, 100)}, "bn1": {"scale": jnp.arange(1.0, 501.0)}}
    return {layout: save(folder / layout.replace(" ", "_"), tree, **LAYOUTS[layout]) for layout in LAYOUTS}


@pytest.fixture
def copy_of(layouts, tmp_path):
    """Returns a copy of the folder of a layout."""
    return lambda layout: Path(shutil.copytree(layouts[layout], tmp_path / "copy"))


def holds_values(path) -> bool:
    return path.is_file() and path.name not in (".zarray", "zarr.json", TREE, STEP, COMMITTED, "_sharding", "process_0")


@pytest.mark.parametrize("layout", EACH_LAYOUT)
def test_a_missing_file_is_never_read_as_zeros(copy_of, layout, layouts):
    """Whichever file is missing, the folder is refused, or the values are correct because the file was not needed."""
    whole, _ = read(layouts[layout])
    path = copy_of(layout)
    metadata = json.loads((path / TREE).read_text())
    del metadata["store_array_data_equal_to_fill_value"]  # with this key, Orbax itself would return zeros
    (path / TREE).write_text(json.dumps(metadata))
    reasons = set()
    for part in [file for file in sorted(path.rglob("*")) if holds_values(file)]:
        content = part.read_bytes()
        part.unlink()
        try:
            assert same(read(path)[0], whole)
        except WeightsError as error:
            reasons.add((error.id, part.name == DATABASE))
        part.write_bytes(content)
    assert same(read(path)[0], whole)
    assert reasons == {("orbax.missing", False)} | ({("orbax.metadata", True)} if "ocdbt" in layout else set())


@pytest.mark.parametrize("layout", EACH_LAYOUT)
def test_a_truncated_chunk_is_refused(copy_of, layout):
    path = copy_of(layout)
    part = max((file for file in path.rglob("*") if holds_values(file)), key=lambda file: file.stat().st_size)
    os.truncate(part, part.stat().st_size // 2)
    assert refusal(path) == "orbax.missing"


def rewrite(path, *keys, to):
    """Set a value in a JSON file, or delete it where `to` is None."""
    document = inner = json.loads(path.read_text())
    for key in keys[:-1]:
        inner = inner[key]
    if to is None:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = to
    path.write_text(json.dumps(document))


def link(path, target):
    path.unlink()
    path.symlink_to(target)


def rename_level(path, level):
    text = (path / TREE).read_text()
    (path / TREE).write_text(text.replace('"key": "conv1"', f'"key": {json.dumps(level)}'))


KERNEL = "('conv1', 'kernel')"
ZARR2, ZARR3 = "conv1.kernel/.zarray", "conv1.kernel/zarr.json"

CORRUPTED = {
    "a link in place of a chunk": ("zarr", "file.link", lambda path: link(path / "conv1.kernel/0.0", "/etc/passwd")),
    "a link within the folder": ("zarr", "file.link", lambda path: link(path / "bn1.scale/0", path / TREE)),
    "a link in place of a database": ("ocdbt", "file.link", lambda path: link(path / DATABASE, "/etc/passwd")),
    "a link to a folder": ("ocdbt", "file.link", lambda path: (path / "more").symlink_to("/etc")),
    "a pipe": ("ocdbt", "file.link", lambda path: os.mkfifo(path / "d" / "more")),
    "a socket": ("zarr", "file.link", lambda path: os.mknod(path / "more", stat.S_IFSOCK)),
    "a key that leads out": ("zarr", "orbax.metadata", lambda path: rename_level(path, "../../conv1")),
    "a key that is two dots": ("zarr", "orbax.metadata", lambda path: rename_level(path, "..")),
    "an empty key": ("ocdbt", "orbax.metadata", lambda path: rename_level(path, "")),
    "a key that is no text": ("ocdbt", "orbax.metadata", lambda path: rename_level(path, 7)),
    "a name that stands twice": ("ocdbt", "orbax.metadata", lambda path: (path / TREE).write_text('{"a": 1, "a": 2}')),
    "no metadata": ("ocdbt", "orbax.metadata", lambda path: (path / TREE).unlink()),
    "metadata cut short": ("zarr", "orbax.metadata", lambda path: os.truncate(path / TREE, 300)),
    "empty metadata": ("zarr", "orbax.metadata", lambda path: os.truncate(path / TREE, 0)),
    "metadata that are a list": ("zarr", "orbax.metadata", lambda path: (path / TREE).write_text("[]")),
    "metadata of 17 MB": ("zarr", "orbax.metadata", lambda path: os.truncate(path / TREE, 17 * 2**20)),
    "metadata nested without end": ("zarr", "orbax.metadata", lambda path: (path / TREE).write_text("[" * 10**6)),
    "no arrays": ("zarr", "orbax.metadata", lambda path: rewrite(path / TREE, "tree_metadata", to={})),
    "an array without a path": (
        "zarr", "orbax.metadata", lambda path: rewrite(path / TREE, "tree_metadata", KERNEL, "key_metadata", to=[]),
    ),
    "an array of no kind": (
        "zarr", "orbax.metadata", lambda path: rewrite(path / TREE, "tree_metadata", KERNEL, "value_metadata", to=None),
    ),
    "an array that is not there": ("ocdbt", "orbax.missing", lambda path: rename_level(path, "conv2")),
    "an array that is not there, in a folder": ("zarr", "orbax.missing", lambda path: rename_level(path, "conv2")),
    "no document of an array": ("zarr", "orbax.missing", lambda path: (path / ZARR2).unlink()),
    "a document of another version": (
        "zarr 3", "orbax.metadata", lambda path: rewrite(path / ZARR3, "zarr_format", to=2),
    ),
    "a document cut short": ("zarr", "orbax.metadata", lambda path: os.truncate(path / ZARR2, 20)),
    "a shape of another rank": ("zarr", "orbax.metadata", lambda path: rewrite(path / ZARR2, "shape", to=[50, 10, 10])),
    "a shape that its pieces do not make": (
        "zarr 3", "orbax.metadata", lambda path: rewrite(path / ZARR3, "shape", to=[50, 101]),
    ),
    "a shape twice as large": ("zarr 3", "orbax.missing", lambda path: rewrite(path / ZARR3, "shape", to=[100, 100])),
    "a shape below nothing": ("zarr", "orbax.metadata", lambda path: rewrite(path / ZARR2, "shape", to=[-50, 100])),
    "a shape of texts": ("zarr", "orbax.metadata", lambda path: rewrite(path / ZARR2, "shape", to=["50", "100"])),
    "chunks larger than the array": (
        "zarr", "orbax.metadata", lambda path: rewrite(path / ZARR2, "chunks", to=[50, 10**12]),
    ),
    "another type of the same size": ("zarr", "tensor.type", lambda path: rewrite(path / ZARR2, "dtype", to="<M8")),
    "another type": ("zarr", "orbax.missing", lambda path: rewrite(path / ZARR2, "dtype", to="<f8")),
    "no type": ("zarr 3", "tensor.type", lambda path: rewrite(path / ZARR3, "data_type", to=["float32"])),
    "a filter that there is not": (
        "zarr", "orbax.metadata", lambda path: rewrite(path / ZARR2, "compressor", to={"id": "none"}),
    ),
    "no database": ("ocdbt", "orbax.metadata", lambda path: (path / DATABASE).unlink()),
    "a database of something else": (
        "ocdbt", "orbax.metadata", lambda path: (path / DATABASE).write_bytes(b"else" * 99),
    ),
    "a database cut short": ("ocdbt", "orbax.metadata", lambda path: os.truncate(path / DATABASE, 30)),
    "a saving without an end": (
        "ocdbt", "orbax.uncommitted",
        lambda path: ((path / COMMITTED).unlink(), rewrite(path / STEP, "commit_timestamp_nsecs", to=None)),
    ),
    "custom metadata that are no texts": (
        "zarr", "metadata.json", lambda path: rewrite(path / STEP, "custom_metadata", to={"se_resnet": {"tool": 7}}),
    ),
    "custom metadata that are no object": (
        "zarr", "metadata.json", lambda path: rewrite(path / STEP, "custom_metadata", to={"se_resnet": "tool"}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", CORRUPTED)
def test_a_corrupted_folder_is_refused_with_its_refusal_id(copy_of, fault):
    layout, reason, wrong = CORRUPTED[fault]
    path = copy_of(layout)
    wrong(path)
    assert refusal(path) == reason


def test_a_folder_of_too_many_files_is_refused(copy_of, monkeypatch):
    monkeypatch.setattr(orbax_folder, "FILES", 5)
    assert refusal(copy_of("zarr")) == "orbax.metadata"


def test_an_uncommitted_checkpoint_is_refused(ours, layouts, tmp_path):
    for name in ("7.orbax-checkpoint-tmp", "7.orbax-checkpoint-tmp-1795371843133505467"):
        path = Path(shutil.copytree(layouts["ocdbt"], tmp_path / "run" / name))
        assert is_orbax(path)
        assert refusal(path) == "orbax.uncommitted"
    assert refusal(tmp_path / "run") == "orbax.uncommitted"
    shutil.copytree(layouts["ocdbt"], tmp_path / "run" / "6")
    assert same(read(tmp_path / "run")[0], read(layouts["ocdbt"])[0])
    path = Path(shutil.copytree(ours, tmp_path / "ours"))
    (path / COMMITTED).unlink()
    assert refusal(path) == "orbax.uncommitted"


def test_an_uncommitted_step_with_a_committed_item_is_refused(layouts, tmp_path):
    save_steps(tmp_path / "run", read(layouts["zarr"])[0])
    (tmp_path / "run" / "7" / COMMITTED).unlink()
    assert refusal(tmp_path / "run") == "orbax.uncommitted"


def test_the_newest_of_several_steps_is_read_and_said(layouts, tmp_path):
    save_steps(tmp_path / "run", {"fc": {"bias": np.zeros(3, np.float32)}}, (3, 12))
    with orbax.open_contents(tmp_path / "run") as contents:
        assert contents.metadata["opened"].startswith("12")
        assert contents.metadata["left"] == "3"


def test_several_items_that_are_no_collections_are_listed_and_none_is_chosen(layouts, tmp_path):
    save_steps(tmp_path / "run", read(layouts["zarr"])[0], (3, 12))
    for step, item in (("3", "student"), ("12", "teacher")):
        (tmp_path / "run" / step).rename(tmp_path / "run" / item)
    with pytest.raises(WeightsError, match="student, teacher") as caught:
        read(tmp_path / "run")
    assert caught.value.id == "orbax.steps"
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty") == "orbax.steps"
    assert not is_orbax(tmp_path / "empty")


def test_shapes_are_known_before_any_value_is_read(layouts, monkeypatch):
    tasks_run = []
    run_sandboxed = orbax.run_sandboxed

    def recorded(program, request, *more):
        tasks_run.append("read" if request["target"] else "describe")
        return run_sandboxed(program, request, *more)

    monkeypatch.setattr(orbax, "run_sandboxed", recorded)
    for layout, tasks in {"zarr": ["read"], "ocdbt": ["describe", "read"]}.items():
        tasks_run.clear()
        with orbax.open_contents(layouts[layout]) as stored:
            assert {name: (tensor.dtype.name, tensor.shape) for name, tensor in stored.tensors.items()} == {
                "conv1/kernel": ("float32", (50, 100)),
                "bn1/scale": ("float32", (500,)),
            }
            assert "read" not in tasks_run
            for tensor in stored.tensors.values():
                tensor.load()
        assert tasks_run == tasks


def test_reading_imports_neither_jax_nor_orbax(layouts, tmp_path, monkeypatch):
    packages = tmp_path / "site-packages"
    packages.mkdir()
    for module in ("jax.py", "orbax.py", "flax.py"):
        (packages / module).write_text("raise RuntimeError('imported')")
    monkeypatch.setattr(sys, "path", [str(packages), *sys.path])
    monkeypatch.setenv("PYTHONPATH", str(packages))
    for layout in LAYOUTS:
        assert read(layouts[layout])[0]["conv1/kernel"].shape == (50, 100)
    with pytest.raises(WriteFailed, match="imported"):
        written(tmp_path / "a.orbax", {"a": np.ones(3)})


def test_no_temporary_file_is_left_behind(layouts, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = sorted(layouts["ocdbt"].parent.rglob("*"))
    read(layouts["ocdbt"])
    with orbax.open_contents(layouts["zarr"]) as stored:
        stored.tensors["conv1/kernel"].load()
        assert list(tmp_path.iterdir()) != []
    assert list(tmp_path.iterdir()) == []
    assert sorted(layouts["ocdbt"].parent.rglob("*")) == before
    written(tmp_path / "a.orbax", {"a": np.ones(3)})
    assert list(tmp_path.iterdir()) == [tmp_path / "a.orbax"]


def test_without_orbax_shapes_are_read_and_the_missing_extra_is_named(copy_of, tmp_path, monkeypatch):
    monkeypatch.setattr(orbax, "find_spec", lambda name: None)
    path = copy_of("zarr")
    with orbax.open_contents(path) as stored:
        assert stored.tensors["conv1/kernel"].shape == (50, 100)
        with pytest.raises(MissingExtra, match=r"pip install '\.\[flax\]'"):
            stored.tensors["conv1/kernel"].load()
    os.truncate(path / TREE, 0)
    assert refusal(path) == "orbax.metadata"
    with pytest.raises(MissingExtra, match=r"pip install '\.\[flax\]'"):
        written(tmp_path / "a.orbax", {"a": np.ones(3)})


PROGRAMS = {
    "raises": "raise RuntimeError('boom')",
    "dies": "import os; os.abort()",
    "hangs": "import time; time.sleep(60)",
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_failing_reader_or_writer_raises_an_error_with_its_reason(layouts, tmp_path, monkeypatch, program):
    (tmp_path / "program.py").write_text(PROGRAMS[program])
    monkeypatch.setattr(orbax, "READER", tmp_path / "program.py")
    monkeypatch.setattr(orbax, "WRITER", tmp_path / "program.py")
    monkeypatch.setattr(orbax, "READ_SECONDS", dict.fromkeys(orbax.READ_SECONDS, 1))
    monkeypatch.setattr(orbax, "WRITE_SECONDS", 1)
    reason = {"raises": "boom", "dies": "status -6", "hangs": "more than 1 s"}[program]
    with pytest.raises(WeightsError, match=reason) as caught:
        read(layouts["ocdbt"])
    assert caught.value.id == "orbax.metadata"
    with pytest.raises(WriteFailed, match=reason):
        written(tmp_path / "a.orbax", {"a": np.ones(3)})


def test_another_folder_is_not_detected_as_orbax(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text("{}")
    assert not is_orbax(tmp_path)


# Through the public functions of se_weights.


def test_a_checkpoint_is_written_to_and_read_from_an_orbax_folder(tmp_path):
    network = small_network()
    se_weights.write(network.checkpoint, tmp_path / "a.orbax")
    checkpoint = se_weights.read(tmp_path / "a.orbax")
    assert checkpoint.architecture == network.architecture
    assert weights_sha256(checkpoint.weights) == weights_sha256(network.weights)


@pytest.mark.parametrize("way", ["a state", "in a run of one step", "beside an optimiser"])
def test_what_flax_users_save_is_recognised(tmp_path, model, way):
    from flax import nnx

    path = NNX_WAYS[way](tmp_path / "theirs", model, nnx)
    checkpoint = se_weights.read(path)
    assert checkpoint.dialect == "nnx"
    assert weights_sha256(checkpoint.weights) == weights_sha256(small_network().weights)
