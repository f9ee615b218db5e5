"""Files that training scripts save: objects beside the weights, wrappers, several networks in one file."""

import argparse
import collections
import datetime
import decimal
import enum
import functools
import json
import pathlib
import pickle
import random
import types
import uuid
from pathlib import Path

import numpy as np
import pytest

import se_weights
from parity_tests.support.cases import skip_without, small_network
from se_weights.dialects import DIALECTS
from se_weights.errors import MalformedFile, UnsafeFile, UnsupportedFormat, WeightMismatch
from se_weights.files.torch.pickle_names import is_attack

torch = pytest.importorskip("torch")


class Phase(enum.Enum):
    """A setting that a training script may save."""

    TRAIN = 1


OBJECTS = {
    "numbers": (
        1 + 2j,
        2**127 - 1,
        2**64 + 1,
        -(2**200),
        np.float64(0.5),
        np.bool_(True),
        np.str_("a"),
        decimal.Decimal(1),
    ),
    "containers": ({1}, frozenset([1]), slice(1), range(3), collections.deque([1.0], 3), collections.Counter("ab")),
    "bytes": (b"a", bytearray(b"a")),
    "times": (datetime.datetime.now(), datetime.date.today(), datetime.timedelta(1), np.datetime64("2020-01-01")),
    "random generators": (random.getstate(), np.random.get_state(), np.random.default_rng(0).bit_generator.state),
    "a generator": np.random.default_rng(0),
    "arrays of text": np.array(["cat", "dog"]),
    "arrays of objects": np.array(["a", None], dtype=object),
    "complex arrays": np.ones(2, complex),
    "options": argparse.Namespace(path=pathlib.Path("a"), seed=uuid.UUID(int=7)),
    "a default dictionary": collections.defaultdict(functools.partial(dict), a=[1]),
    "an enumeration": Phase.TRAIN,
    "a namespace": types.SimpleNamespace(lr=0.1),
    "an optimizer for later": functools.partial(torch.optim.SGD, lr=0.1),
    "a method": [1].index,
    "a loss with class weights": torch.nn.CrossEntropyLoss(torch.ones(3)),
    "a function": torch.nn.functional.relu,
    "types": (float, type(None), torch.float32, torch.Size([1]), torch.device("cpu")),
    "the version of torch": torch.__version__,
    "tensors of other types": [torch.ones(2).to(torch.float8_e4m3fn), torch.ones(2, dtype=torch.complex64)],
    "unsigned tensors": torch.ones(2, dtype=torch.uint16),
    "a sparse tensor": torch.eye(2).to_sparse(),
}


def state_dict() -> dict[str, object]:
    return {name: torch.from_numpy(array) for name, array in small_network().weights.items()}


@pytest.mark.parametrize("name", OBJECTS)
def test_weights_are_read_whatever_object_lies_beside_them(tmp_path, name):
    torch.save({"state_dict": state_dict(), "epoch": 3, "extra": OBJECTS[name]}, tmp_path / "a.pth")
    checkpoint = se_weights.read(tmp_path / "a.pth")
    for parameter, values in small_network().weights.items():
        assert np.array_equal(checkpoint.weights[parameter], values)


def test_classes_that_are_not_known_are_listed(tmp_path):
    torch.save({"state_dict": state_dict(), "extra": [Phase.TRAIN, 0.5]}, tmp_path / "a.pth")
    assert se_weights.read(tmp_path / "a.pth").metadata["objects"] == f"{__name__}.Phase"


class Weights(dict):
    """A dictionary of another class."""


def test_weights_in_a_dictionary_of_an_unknown_class_are_refused(tmp_path):
    torch.save({"state_dict": Weights(state_dict())}, tmp_path / "a.pth")
    with pytest.raises(UnsafeFile, match="Weights"):
        se_weights.read(tmp_path / "a.pth")


def test_the_weights_beside_an_exponential_moving_average_are_read_by_their_prefix(tmp_path):
    """As torchvision's training script saves them; timm's rule reads the average."""
    averaged = {f"module.{name}": 2 * tensor for name, tensor in state_dict().items()}
    content = {
        "model": state_dict(),
        "model_ema": {"n_averaged": torch.tensor(2), **averaged},
        "optimizer": {"state": {}},
    }
    torch.save(content, tmp_path / "a.pth")
    read = {prefix: se_weights.read(tmp_path / "a.pth", prefix=prefix) for prefix in (None, "model", "model_ema")}
    first = small_network().weights["conv1.weight"]
    for prefix, factor in {None: 2, "model": 1, "model_ema": 2}.items():
        assert np.array_equal(read[prefix].weights["conv1.weight"], factor * first)
    assert read[None].metadata["left"] == "model n_averaged"


@pytest.mark.parametrize("holder", [list, tuple, lambda items: [*items[0].items()]], ids=["list", "tuple", "pairs"])
def test_a_state_dict_in_a_list_is_read(tmp_path, holder):
    optimizer = {"state": {0: {"exp_avg": torch.ones(3)}}}
    torch.save(holder([state_dict(), optimizer]), tmp_path / "a.pth")
    checkpoint = se_weights.read(tmp_path / "a.pth")
    assert np.array_equal(checkpoint.weights["fc.bias"], small_network().weights["fc.bias"])


@pytest.mark.parametrize(
    "name",
    [
        *(
            "os.system",
            "posix.system",
            "builtins.eval",
            "builtins.print",
            "builtins.__import__",
            "importlib.import_module",
        ),
        *("torch.hub.load", "types.CodeType", "operator.attrgetter", "collections.abc.os", "any.thing.__globals__.x"),
    ],
)
def test_a_name_that_only_an_attack_needs_is_known(name):
    module, _, attribute = name.rpartition(".") if "thing" not in name and "abc" not in name else name.partition(".")
    assert is_attack(module, attribute)


@pytest.mark.parametrize("name", ["builtins.int", "builtins.getattr", "functools.partial", "copyreg.__newobj__"])
def test_a_name_that_honest_files_need_is_no_attack(name):
    assert not is_attack(*name.rsplit(".", 1))


@skip_without("tf")
def test_keras_files_of_every_kind_keep_the_settings_that_no_tensor_shows(tmp_path):
    """Weights, shards, archives and legacy files, alone, inside a Sequential and after training."""
    import keras

    import se_tf

    network = small_network().architecture.replace(
        num_classes=3, stride_in="conv1", stem={"pool": "ceil"}, bn_epsilon=1e-3
    )
    model = se_tf.SEResNet(network)
    sequential = keras.Sequential([keras.Input((33, 40, 3)), model])
    sequential.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    sequential.fit(np.ones((4, 33, 40, 3), np.float32), np.array([0, 1, 2, 0]), verbose=0)
    for name, saved in (("inner", model), ("outer", sequential)):
        saved.save_weights(tmp_path / f"{name}.weights.h5")
        saved.save_weights(tmp_path / f"{name}.weights.json", max_shard_size=2e-5)
        saved.save(tmp_path / f"{name}.keras")
        saved.save(tmp_path / f"{name}.h5")
        for suffix in (".weights.h5", ".weights.json", ".keras", ".h5"):
            checkpoint = se_weights.read(tmp_path / f"{name}{suffix}")
            assert checkpoint.architecture.function_key() == network.function_key()
            for parameter, values in se_tf.read_weights(model).items():
                assert np.array_equal(checkpoint.weights[parameter], values)
    assert len(list(tmp_path.glob("inner_*.weights.h5"))) > 1
    again = se_tf.SEResNet(network)
    again.load_weights(tmp_path / "inner.weights.h5")
    assert np.array_equal(se_tf.read_weights(again)["fc.bias"], se_tf.read_weights(model)["fc.bias"])


def test_shards_of_torch_files_are_read_by_their_index(tmp_path):
    """As accelerate saves a model without safetensors."""
    tensors, names = state_dict(), iter(["pytorch_model-00001.bin", "pytorch_model-00002.bin"])
    keys = list(tensors)
    index = {}
    for part in (keys[: len(keys) // 2], keys[len(keys) // 2 :]):
        shard = next(names)
        torch.save({key: tensors[key] for key in part}, tmp_path / shard)
        index |= dict.fromkeys(part, shard)
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    for path in (tmp_path, tmp_path / "pytorch_model.bin.index.json"):
        checkpoint = se_weights.read(path)
        assert all(np.array_equal(checkpoint.weights[name], small_network().weights[name]) for name in keys)
    (tmp_path / "pytorch_model-00002.bin").unlink()
    with pytest.raises(MalformedFile, match="00002"):
        se_weights.read(tmp_path)


def flax_train_state() -> dict[str, object]:
    """What `serialization.to_state_dict` makes of a TrainState, with the averaged parameters that some scripts add."""
    tree: dict[str, dict] = {}
    dialect = DIALECTS["linen"]
    network = small_network()
    for parameter, place in dialect.places(network.architecture).items():
        *levels, leaf = place.names[0].split("/")
        branch = tree
        for level in levels:
            branch = branch.setdefault(level, {})
        branch[leaf] = se_weights.relayout(network.weights[parameter.name], parameter.axes, place.axes)
    optimizer = {"0": {"mu": tree["params"], "nu": tree["params"], "count": np.int32(3)}}
    return {"step": 3, "lr": 0.5, "note": "best", **tree, "opt_state": optimizer, "ema_params": tree["params"]}


@skip_without("flax")
@pytest.mark.parametrize("kind", ["msgpack", "legacy folder", "legacy file", "pickle", "within a checkpoint"])
def test_a_flax_train_state_is_read_and_its_optimizer_left(tmp_path, kind):
    from flax import serialization

    state = flax_train_state()
    path = tmp_path / (
        "checkpoint_12" if kind.startswith("legacy") else "state.pkl" if kind == "pickle" else "a.msgpack"
    )
    if kind == "pickle":
        path.write_bytes(pickle.dumps(state))
    else:
        path.write_bytes(serialization.to_bytes({"model": state, "epoch": 7} if kind.startswith("within") else state))
    (tmp_path / "checkpoint_9").write_bytes(b"an earlier step")
    checkpoint = se_weights.read(tmp_path if kind == "legacy folder" else path)
    assert checkpoint.dialect == "linen"
    assert {"opt_state", "ema_params"} <= set(checkpoint.metadata["left"].split())
    for name, values in small_network().weights.items():
        assert np.array_equal(checkpoint.weights[name], values)


@skip_without("flax")
@pytest.mark.parametrize("kind", ["msgpack of numbered layers", "pickle of JAX arrays", "names with dots"])
def test_an_nnx_state_is_read_as_its_users_keep_it(tmp_path, kind):
    import jax
    from flax import nnx, serialization, traverse_util
    from safetensors.numpy import save_file

    import se_flax

    model = se_flax.from_file(small_network_file(tmp_path))
    state = nnx.to_pure_dict(nnx.state(model))
    if kind == "pickle of JAX arrays":
        path = tmp_path / "state.pkl"
        path.write_bytes(pickle.dumps(state))
    elif kind == "names with dots":
        path = tmp_path / "state.safetensors"
        flat = traverse_util.flatten_dict(jax.tree.map(np.asarray, state))
        save_file({".".join(map(str, names)): np.ascontiguousarray(array) for names, array in flat.items()}, path)
    else:
        path = tmp_path / "state.msgpack"
        path.write_bytes(serialization.msgpack_serialize(jax.tree.map(np.asarray, state)))
    checkpoint = se_weights.read(path)
    assert "without metadata" in se_weights.notes(checkpoint)[-1]
    for name, values in small_network().weights.items():
        assert np.array_equal(checkpoint.weights[name], values)


@skip_without("flax")
@pytest.mark.parametrize("items", [("params", "batch_stats"), ("model", "optimizer")])
def test_the_items_of_an_orbax_checkpoint_are_joined_or_the_optimizer_left(tmp_path, items):
    import orbax.checkpoint as ocp
    from flax import nnx

    import se_flax

    model = se_flax.from_file(small_network_file(tmp_path))
    states = {
        "params": nnx.state(model, nnx.Param),
        "batch_stats": nnx.state(model, nnx.BatchStat),
        "model": nnx.state(model),
        "optimizer": {"count": np.ones(3, np.float32)},
    }
    with ocp.CheckpointManager(tmp_path / "run") as manager:
        for step in (3, 12):
            arguments = {item: ocp.args.StandardSave(states[item]) for item in items}
            manager.save(step, args=ocp.args.Composite(**arguments))
    checkpoint = se_weights.read(tmp_path / "run")
    assert checkpoint.metadata["unwrapped"].startswith("12")
    assert set(checkpoint.metadata["left"].split()) >= {"3", *({"optimizer"} & set(items))}
    for name, values in small_network().weights.items():
        assert np.array_equal(checkpoint.weights[name], values)


def small_network_file(folder: Path) -> Path:
    """A file of the small network with its metadata."""
    se_weights.write(small_network().checkpoint, folder / "source.safetensors")
    return folder / "source.safetensors"


HEADS = {
    "of two layers": {"fc.0.weight": (16, 32), "fc.0.bias": (16,), "fc.3.weight": (7, 16)},
    "beside the classifier": {"arcface.weight": (7, 5)},
    "a loss with weights": {"criterion.weight": (5, 5), "accuracy.count": ()},
}


@pytest.mark.parametrize("head", HEADS)
def test_a_network_is_read_beside_another_head_which_is_left(tmp_path, head):
    tensors = state_dict() | {name: torch.ones(shape) for name, shape in HEADS[head].items()}
    replaced = "fc.0.weight" in HEADS[head]
    tensors = {name: tensor for name, tensor in tensors.items() if not (replaced and name in ("fc.weight", "fc.bias"))}
    torch.save(tensors, tmp_path / "a.pth")
    checkpoint = se_weights.read(tmp_path / "a.pth")
    assert checkpoint.architecture.num_classes == (0 if replaced else 5)
    assert set(checkpoint.metadata["left"].split()) == {name.partition(".")[0] for name in HEADS[head]}


@pytest.mark.parametrize(
    "name",
    [
        "layer1.0.extra.weight",
        "conv0.weight",
        "global_pool.p",
        "fc.scale",
        "fc_norm.weight",
        "attention.weight",
        "conv1.extra",
    ],
)
def test_an_unexpected_tensor_in_or_of_a_part_of_the_network_refuses_the_file(tmp_path, name):
    torch.save(state_dict() | {name: torch.ones(3, 3)}, tmp_path / "a.pth")
    with pytest.raises(WeightMismatch, match=f"\\+ {name}"):
        se_weights.read(tmp_path / "a.pth")


def changed_names(**ends: str) -> dict[str, object]:
    return {
        next((name.removesuffix(end) + new for end, new in ends.items() if name.endswith(end)), name): tensor
        for name, tensor in state_dict().items()
    }


KINDS = {
    "int8 quantized": lambda: state_dict() | {"fc.zero_point": torch.ones(())},
    "quantization-aware": lambda: state_dict() | {"activation_post_process_0.scale": torch.ones(1)},
    "pruned": lambda: changed_names(weight="weight_orig"),
    "reparametrized": lambda: changed_names(weight="parametrizations.weight.original0"),
    "adapter": lambda: {f"{name}.lora_A": tensor for name, tensor in state_dict().items()},
    "folded": lambda: {
        **{name: tensor for name, tensor in state_dict().items() if "bn" not in name and "downsample" not in name},
        **{name.replace("weight", "bias"): torch.ones(3) for name in state_dict() if "conv" in name},
    },
    "3-D": lambda: {name: x[..., None] if x.ndim == 4 else x for name, x in state_dict().items()},
    "1-D": lambda: {name: x[..., 0] if x.ndim == 4 else x for name, x in state_dict().items()},
    "DeepSpeed ZeRO": lambda: {name: torch.ones(0) for name in state_dict()},
    "keras.applications": lambda: {"conv1_conv/kernel": torch.ones(7, 7, 3, 64), "conv1_conv/bias": torch.ones(64)},
    "not one of se_tf": lambda: {"layers/conv2d_1/vars/0": torch.ones(3, 3, 8, 8)},
    "speaker": lambda: state_dict() | {"torchfb.0.flipped_filter": torch.ones(1, 1, 2), "bn3.x.y": torch.ones(1)},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_not_read_is_named_with_what_to_do(tmp_path, kind):
    torch.save(KINDS[kind](), tmp_path / "a.pth")
    with pytest.raises(WeightMismatch, match=f"it looks like .*{kind}") as caught:
        se_weights.read(tmp_path / "a.pth")
    assert "again." not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [("saved_model.pb", "SavedModel"), ("ckpt.index", "tf.train.Checkpoint"), ("zero_pp_rank_0_states.txt", "ZeRO")],
)
def test_a_folder_that_is_not_read_is_named_with_what_to_do(tmp_path, name, says):
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(UnsupportedFormat, match=says):
        se_weights.read(tmp_path)


def test_the_only_weights_file_in_a_folder_is_read(tmp_path):
    torch.save({"model": state_dict()}, tmp_path / "best_accuracy=0.9.pt")
    (tmp_path / "notes.txt").write_text("notes")
    assert np.array_equal(se_weights.read(tmp_path).weights["fc.bias"], small_network().weights["fc.bias"])
    torch.save({"model": state_dict()}, tmp_path / "last.pt")
    with pytest.raises(UnsupportedFormat):
        se_weights.read(tmp_path)


@skip_without("tf")
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_a_keras_archive_is_written_in_the_type_of_the_weights(tmp_path, dtype):
    network = small_network()
    weights = {name: values.astype(dtype) for name, values in network.weights.items()}
    se_weights.write(se_weights.Checkpoint(network.architecture, weights), tmp_path / "a.keras")
    read = se_weights.read(tmp_path / "a.keras").weights
    assert all(np.array_equal(read[name], values) and read[name].dtype == dtype for name, values in weights.items())
    weights["fc.bias"] = weights["fc.bias"].astype("float32")
    with pytest.raises(UnsupportedFormat, match="--dtype"):
        se_weights.write(se_weights.Checkpoint(network.architecture, weights), tmp_path / "b.keras")


def test_the_module_of_a_deepspeed_checkpoint_is_read_and_its_optimizer_shard_named(tmp_path):
    """The model states of the stages 0 to 2 hold the whole network; those of the optimizer its parts."""
    options = {"ds_version": "0.15.0", "ds_config": {"zero_optimization": {"stage": 1}}, "buffer_names": []}
    torch.save({"module": state_dict(), "optimizer": None, **options}, tmp_path / "mp_rank_00_model_states.pt")
    checkpoint = se_weights.read(tmp_path / "mp_rank_00_model_states.pt")
    assert np.array_equal(checkpoint.weights["fc.bias"], small_network().weights["fc.bias"])
    shard = {"optimizer_state_dict": {"zero_stage": 1, "single_partition_of_fp32_groups": [torch.ones(9)]}, **options}
    torch.save(shard, tmp_path / "zero_pp_rank_0_mp_rank_00_optim_states.pt")
    with pytest.raises(WeightMismatch, match="zero_to_fp32"):
        se_weights.read(tmp_path / "zero_pp_rank_0_mp_rank_00_optim_states.pt")


def test_a_number_beside_the_networks_of_a_checkpoint_hides_none_of_them(tmp_path):
    torch.save({"iteration": torch.tensor(7), "student": state_dict()}, tmp_path / "a.pth")
    checkpoint = se_weights.read(tmp_path / "a.pth")
    assert checkpoint.metadata["unwrapped"] == "student/"
    assert checkpoint.metadata["left"] == "iteration"


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")  # dcp.save without processes says so
@pytest.mark.parametrize("options", [{"output_stride": 4}, {"hyper_parameters": {"act_layer": "silu"}}])
def test_options_beside_the_weights_of_a_distributed_checkpoint_are_not_ignored(tmp_path, options):
    import torch.distributed.checkpoint as dcp

    dcp.save({"model": state_dict(), "epoch": 3, "args": options}, checkpoint_id=tmp_path / "run")
    with pytest.raises(UnsupportedFormat, match="another function"):
        se_weights.read(tmp_path / "run")
    dcp.save({"model": state_dict(), "epoch": 3, "args": {"lr": 0.1}}, checkpoint_id=tmp_path / "plain")
    assert se_weights.read(tmp_path / "plain").weights
