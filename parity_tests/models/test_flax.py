"""The Flax model in the uses that Flax has: split and merge, jit, gradients, eval_shape, Linen, bfloat16, tree mode."""

import copy
import os
import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from parity_tests.support.cases import architecture, skip_without, small_network
from parity_tests.support.frameworks import flax_rngs
from parity_tests.support.tolerances import FLOAT32_STEP
from se_parity import compare
from se_weights import WeightMismatch, weights_sha256

pytestmark = skip_without("flax")


@pytest.fixture
def network():
    return small_network("basic")


@pytest.fixture
def model(network):

    import se_flax

    model = se_flax.SEResNet(network.architecture, rngs=flax_rngs())
    se_flax.load_weights(model, network.weights)
    model.eval()
    return model


def images(network):
    return np.moveaxis(network.images, 1, -1)


def share(network, logits) -> float:
    return compare(network.reference, np.asarray(logits)).share


def read(model):
    import se_flax

    return se_flax.read_weights(model)


def test_split_and_merge_give_the_same_network(model, network):
    from flax import nnx

    graph, parameters, statistics = nnx.split(model, nnx.Param, nnx.BatchStat)
    assert share(network, nnx.merge(graph, parameters, statistics)(images(network))) <= network.limit


def test_a_state_with_the_random_numbers_of_dropout_is_read(network, tmp_path):
    import jax
    from flax import nnx, serialization

    import se_flax
    import se_weights

    architecture = network.architecture.replace(dropout=0.1, drop_path=0.2)
    model = se_flax.SEResNet(architecture, rngs=flax_rngs())
    state = nnx.to_pure_dict(nnx.state(model))
    random = jax.tree.map(lambda leaf: jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key), state)
    state = jax.tree.map(lambda leaf, is_key: jax.random.key_data(leaf) if is_key else leaf, state, random)
    (tmp_path / "state.msgpack").write_bytes(serialization.to_bytes(state))
    read_back = se_weights.read(tmp_path / "state.msgpack", architecture=architecture).weights
    assert se_weights.weights_sha256(read_back) == se_weights.weights_sha256(read(model))


def test_optimize_for_inference_skips_compiler_options_unknown_to_xla(model, network, monkeypatch):
    from se_flax import inference

    monkeypatch.setattr(inference, "COMPILER_OPTIONS", {"xla_no_such_option": ""})
    inference.accepted_options.cache_clear()
    try:
        assert share(network, inference.optimize_for_inference(model)(images(network))) <= network.limit
    finally:
        inference.accepted_options.cache_clear()


def test_a_jitted_training_step_updates_parameters_and_statistics(model, network):
    import jax.numpy as jnp
    import optax
    from flax import nnx

    import se_flax

    optimiser = nnx.Optimizer(model, optax.sgd(0.01), wrt=nnx.Param)
    model.train()

    @nnx.jit
    def step(model, optimiser, x, labels):
        def loss(model):
            return optax.softmax_cross_entropy_with_integer_labels(model(x), labels).mean()

        value, gradients = nnx.value_and_grad(loss)(model)
        optimiser.update(model, gradients)
        return value

    losses = [float(step(model, optimiser, jnp.asarray(images(network)), jnp.array([1, 3]))) for _ in range(8)]
    assert losses[-1] < losses[0]
    after = se_flax.read_weights(model)
    assert all(not np.array_equal(after[name], network.weights[name]) for name in after if "se." not in name)


def test_every_parameter_gets_a_gradient(model, network):
    import jax
    from flax import nnx

    model.train()
    gradients = nnx.jit(nnx.grad(lambda model: (model(images(network)) ** 2).sum()))(model)
    sizes = [float(abs(leaf).sum()) for leaf in jax.tree.leaves(nnx.to_pure_dict(gradients))]
    assert all(size > 0 for size in sizes)
    assert len(sizes) == len(jax.tree.leaves(nnx.state(model, nnx.Param)))


def test_eval_shape_allocates_no_weights():
    import jax
    from flax import nnx

    import se_flax

    abstract = nnx.eval_shape(lambda: se_flax.create_model("se_resnet152"))
    leaves = jax.tree.leaves(nnx.state(abstract))
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves)
    assert sum(leaf.size for leaf in leaves) > 66e6


def test_linen_gives_the_same_logits_and_statistics(model, network):
    import jax
    from flax import nnx

    import se_flax

    linen = nnx.bridge.to_linen(se_flax.SEResNet, network.architecture)
    variables = jax.eval_shape(linen.init, jax.random.key(0), images(network))
    assert set(variables) == {"params", "batch_stats"}
    pure = nnx.to_pure_dict(nnx.state(model))
    filled = {collection: take(tree, pure) for collection, tree in variables.items()}
    logits, moved = jax.jit(partial(linen.apply, mutable=["batch_stats"]))(filled, images(network))
    model.train()
    np.testing.assert_allclose(logits, nnx.jit(lambda model, x: model(x))(model, images(network)), **FLOAT32_STEP)
    again = take(moved["batch_stats"], nnx.to_pure_dict(nnx.state(model)))
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, **FLOAT32_STEP), moved["batch_stats"], again)


def take(tree, source):
    """The part of `source` with the keys of `tree`."""
    if not isinstance(tree, dict):
        return source
    return {key: take(branch, source[key]) for key, branch in tree.items()}


def test_bfloat16_computation_keeps_float32_weights():
    import jax.numpy as jnp
    from flax import nnx

    import se_flax
    from se_flax.weights import empty_model

    model = empty_model(small_network().architecture, dtype=jnp.bfloat16)
    se_flax.load_weights(model, small_network().weights)
    assert model(jnp.ones((1, 9, 9, 3))).dtype == jnp.bfloat16
    assert {str(leaf.dtype) for _, leaf in nnx.to_flat_state(nnx.state(model))} == {"float32"}


TREE_MODE = """
import jax, numpy as np
from flax import nnx
nnx.set_graph_mode(False)
import se_flax
from se_flax.weights import empty_model
from parity_tests.support.cases import small_network
from se_parity import compare
from se_weights import WeightMismatch
network = small_network("bottleneck", se_bias=True)
model = empty_model(network.architecture)
se_flax.load_weights(model, network.weights)
model.eval()
images = np.moveaxis(network.images, 1, -1)
run = nnx.jit(lambda m, x: m(x))
assert compare(network.reference, np.asarray(run(model, images))).share <= network.limit
gradients = nnx.jit(nnx.grad(lambda m: (m(images) ** 2).sum()))(model)
assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
graph, state = nnx.split(model)
assert compare(network.reference, np.asarray(run(nnx.merge(graph, state), images))).share <= network.limit
"""


def test_tree_mode_gives_the_same_logits():
    ran = subprocess.run([sys.executable, "-W", "error", "-c", TREE_MODE], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]


def test_a_classifier_put_in_by_hand_is_read_folded_and_saved(model, network, tmp_path):
    from flax import nnx

    import se_flax

    model.fc = nnx.Linear(model.fc.in_features, 10, rngs=flax_rngs())
    assert model.architecture.num_classes == 10
    se_flax.save(model, tmp_path / "head.msgpack")
    x = images(network)
    for other in (se_flax.fold_batchnorm(model), se_flax.from_file(tmp_path / "head.msgpack")):
        np.testing.assert_allclose(other(x), model(x), rtol=1e-3, atol=1e-4)


REPLACED = {
    "layer2.0.act": lambda nnx, model: setattr(model.layer2[0], "act", nnx.silu),
    "maxpool": lambda nnx, model: setattr(model, "maxpool", lambda x: x),
    "conv1": lambda nnx, model: setattr(model.conv1, "strides", 1),
    "layer1.0.bn2": lambda nnx, model: setattr(model.layer1[0].bn2, "epsilon", 1e-2),
    "dropout": lambda nnx, model: setattr(model, "dropout", nnx.relu),
    "fc": lambda nnx, model: setattr(model, "fc", nnx.Linear(64, 5, use_bias=False, rngs=flax_rngs())),
    "layer3.0": lambda nnx, model: setattr(model, "layer3", nnx.List([])),
    "fc.layers.0": lambda nnx, model: setattr(model, "fc", nnx.Sequential(nnx.Linear(64, 2, rngs=flax_rngs()))),
}


@pytest.mark.parametrize("path", REPLACED)
def test_a_part_that_was_replaced_is_named_where_the_weights_are_read(model, path):
    from flax import nnx

    import se_flax

    REPLACED[path](nnx, model)
    for use in (se_flax.read_weights, se_flax.fold_batchnorm, se_flax.optimize_for_inference):
        with pytest.raises(WeightMismatch, match=rf"[-+!] {path}\b"):
            use(model)


def test_create_model_takes_the_dtypes_and_tabulate_lists_the_layers():
    import jax.numpy as jnp
    from flax import nnx

    import se_flax

    sizes = {"depths": (1, 1, 1, 1), "widths": (8, 8, 16, 16), "reduction": 4, "num_classes": 3}
    model = se_flax.create_model("se_resnet18", **sizes, dtype=jnp.bfloat16, param_dtype=jnp.float16, rngs=flax_rngs())
    assert model.conv1.kernel[...].dtype == model.bn1.mean[...].dtype == jnp.float16
    model.eval()
    x = jnp.ones((1, 33, 33, 3))
    assert model(x).dtype == jnp.bfloat16
    table = nnx.tabulate(model, x)
    assert "layer4" in table
    assert "SELayer" in table
    assert se_flax.optimizers.sgd(0.1).init


def test_a_copy_a_clone_and_a_pickle_are_the_same_network(model, network):
    from flax import nnx

    x = images(network)
    for again in (copy.deepcopy(model), nnx.clone(model), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(again(x), model(x))


@pytest.mark.parametrize(
    "case", ["se_densenet121 of the tutorial", "se_preresnet18 of qubvel", "se_resnet18 of weiaicunzai"]
)
def test_a_network_of_another_kind_can_be_pickled(case):
    import se_flax
    from se_flax.families import new_model

    model = new_model(architecture(case), rngs=flax_rngs())
    read, again = (se_flax.read_weights(each) for each in (model, pickle.loads(pickle.dumps(model))))
    assert weights_sha256(read) == weights_sha256(again)


def test_only_the_classifier_is_trained_where_the_filter_says_so(model, network):
    import optax
    from flax import nnx

    classifier = nnx.All(nnx.Param, nnx.PathContains("fc"))
    optimizer = nnx.Optimizer(model, optax.sgd(1.0), wrt=classifier)
    gradients = nnx.grad(lambda model: model(images(network)).sum(), argnums=nnx.DiffState(0, classifier))(model)
    optimizer.update(model, gradients)
    weights = read(model)
    changed = {name for name, array in network.weights.items() if (weights[name] != array).any()}
    assert changed == {"fc.weight", "fc.bias"}


def test_recomputed_activations_give_the_same_gradients(model, network):
    import jax
    from flax import nnx

    def gradients(call):
        return jax.tree.leaves(nnx.grad(lambda model: call(model, images(network)).sum())(model))

    plain, recomputed = gradients(lambda model, x: model(x)), gradients(nnx.remat(lambda model, x: model(x)))
    assert all(np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(plain, recomputed, strict=True))


def test_networks_are_stacked_by_vmap():
    import jax
    from flax import nnx

    import se_flax

    settings = {"depths": (1,), "widths": (8,), "reduction": 4, "num_classes": 3}

    @nnx.split_rngs(splits=3)
    @nnx.vmap
    def ensemble(rngs):
        return se_flax.create_model("se_resnet18", **settings, rngs=rngs)

    networks = ensemble(flax_rngs())
    assert networks.conv1.kernel.shape == (3, 7, 7, 3, 8)
    logits = nnx.vmap(lambda network, x: network(x), in_axes=(0, None))(networks, jax.numpy.ones((2, 33, 26, 3)))
    assert logits.shape == (3, 2, 3)


def test_jax_exports_a_network_for_any_batch(model, network):
    import jax
    from flax import nnx

    graph, state = nnx.split(model)
    x = images(network)
    (batch,) = jax.export.symbolic_shape("batch")
    symbolic = jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype)
    exported = jax.export.export(jax.jit(lambda x: nnx.merge(graph, state)(x)))(symbolic)
    assert share(network, jax.export.deserialize(exported.serialize()).call(x)) <= network.limit


@pytest.mark.parametrize("param_dtype", ["bfloat16", "float16"])
def test_weights_of_16_bits_are_trained_without_a_warning(network, param_dtype):
    import jax

    import se_flax

    model = se_flax.create_model("se_resnet18", depths=(1,), widths=(16,), param_dtype=param_dtype, rngs=flax_rngs())
    before = model.bn1.var[...]
    model(jax.numpy.asarray(images(network), param_dtype))
    assert model.bn1.var[...].dtype == before.dtype == param_dtype
    assert (model.bn1.var[...] != before).any()


def test_weights_are_distributed_over_devices_and_stay_there_when_others_are_loaded(tmp_path):
    program = tmp_path / "distribute.py"
    program.write_text(DISTRIBUTED)
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    ran = subprocess.run(
        [sys.executable, program],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=Path(__file__).parents[2],
    )
    assert ran.returncode == 0, ran.stderr
    assert "the same weights" in ran.stdout


DISTRIBUTED = """
import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import se_flax

model = se_flax.create_model("se_resnet18", depths=(1, 1), widths=(16, 16), num_classes=5)
model.eval()
weights = se_flax.read_weights(model)
mesh = Mesh(np.array(jax.devices()), ("devices",))

def shard(array):
    spec = PartitionSpec(*[None] * (array.ndim - 1), "devices") if array.shape[-1] % 2 == 0 else PartitionSpec()
    return jax.device_put(array, NamedSharding(mesh, spec))

nnx.update(model, jax.tree.map(shard, nnx.state(model)))
sharding = model.conv1.kernel.get_value().sharding
assert len(sharding.device_set) == 2 and not sharding.is_fully_replicated
x = jax.device_put(np.ones((4, 33, 26, 3), np.float32), NamedSharding(mesh, PartitionSpec("devices")))
assert nnx.jit(lambda model, x: model(x))(model, x).shape == (4, 5)
se_flax.load_weights(model, weights)
assert model.conv1.kernel.get_value().sharding == sharding
assert all((se_flax.read_weights(model)[name] == array).all() for name, array in weights.items())
print("the same weights")
"""
