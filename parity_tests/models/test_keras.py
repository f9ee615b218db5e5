"""The Keras model in the uses that Keras has: saving, cloning, summary, fit, dtype policies, compiled training."""

import json
import subprocess
import sys

import numpy as np
import pytest

from parity_tests.support.cases import named_network, skip_without, small_network
from parity_tests.support.frameworks import FRAMEWORKS
from parity_tests.support.tolerances import BFLOAT16_LOGITS, FLOAT32_STEP
from se_parity import compare
from se_parity.reference.activations import record_activations

pytestmark = skip_without("tf")


@pytest.fixture
def network():
    return small_network("basic")


@pytest.fixture
def model(network):
    import se_tf

    model = se_tf.SEResNet(network.architecture)
    se_tf.load_weights(model, network.weights)
    return model


def images(network):
    return np.moveaxis(network.images, 1, -1)


def test_a_reloaded_keras_model_gives_the_same_logits(model, network, tmp_path):
    import keras

    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert np.array_equal(again.predict(images(network), verbose=0), model.predict(images(network), verbose=0))
    assert again.architecture == model.architecture


@pytest.mark.parametrize("name", ["se_resnet20_cifar", "resnet18"])
def test_a_clone_gives_the_same_logits(name):
    """One network has no pool and one no SE; in both cases there is an identity layer in the graph."""
    import keras

    import se_tf

    model = se_tf.create_model(name)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    x = np.random.default_rng(0).normal(size=(2, 17, 12, 3)).astype(np.float32)
    assert np.array_equal(clone.predict(x, verbose=0), model.predict(x, verbose=0))


def test_get_config_is_json_and_makes_the_same_network(model):
    import se_tf

    config = json.loads(json.dumps(model.get_config()))
    again = se_tf.SEResNet.from_config(config)
    assert again.get_config() == model.get_config()
    assert [variable.path for variable in again.variables] == [variable.path for variable in model.variables]


def test_variable_paths_are_the_canonical_names(model, network):
    from se_spec import manifest
    from se_weights.dialects.keras import variable_path

    assert {variable.path for variable in model.variables} == set(map(variable_path, manifest(network.architecture)))
    assert "layer2_0/downsample_0/kernel" in {variable.path for variable in model.variables}


def test_summary_lists_every_block_with_its_shape(model, network):
    lines = []
    model.summary(print_fn=lines.append, line_length=120)
    text = "\n".join(map(str, lines))
    for block in network.architecture.blocks():
        assert block.name.replace(".", "_") in text
    assert "(None, None, None, 16)" in text


def test_features_of_a_block_are_those_of_the_reference(model, network):
    import keras

    seen = record_activations(network.case).outputs
    features = keras.Model(model.inputs[0], model.get_layer("layer2_1").output)(images(network))
    expected = np.moveaxis(seen["layer2.1"], 1, -1)
    assert compare(expected, keras.ops.convert_to_numpy(features)).share <= network.limit


def test_fit_lowers_the_loss_and_updates_the_statistics(model, network):
    import keras

    import se_tf

    before = se_tf.read_weights(model)
    model.compile(keras.optimizers.SGD(0.05), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit(images(network), np.array([1, 3]), epochs=8, batch_size=2, verbose=0).history["loss"]
    assert history[-1] < history[0]
    after = se_tf.read_weights(model)
    assert all(not np.array_equal(after[name], before[name]) for name in before if "se." not in name)
    assert list(after) == list(before)


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_trained_model_is_read_without_its_optimizer(model, network, tmp_path, suffix, optimizer):
    import keras

    import se_tf
    import se_weights

    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(images(network), np.arange(len(network.images)), verbose=0)
    path = tmp_path / f"trained{suffix}"
    model.save(path) if suffix == ".keras" else model.save_weights(path)
    checkpoint = se_weights.read(path)
    assert se_weights.weights_sha256(checkpoint.weights) == se_weights.weights_sha256(se_tf.read_weights(model))
    assert checkpoint.metadata["left"] == "optimizer"


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_a_model_inside_a_trained_one_is_read(model, network, tmp_path, suffix):
    import keras

    import se_tf
    import se_weights

    model.compile("adam", "mse")
    outer = keras.Sequential([keras.Input(images(network).shape[1:]), model, keras.layers.Dense(3)])
    outer.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    outer.fit(images(network), np.arange(len(network.images)), verbose=0)
    path = tmp_path / f"trained{suffix}"
    outer.save(path) if suffix == ".keras" else outer.save_weights(path)
    checkpoint = se_weights.read(path)
    assert se_weights.weights_sha256(checkpoint.weights) == se_weights.weights_sha256(se_tf.read_weights(model))
    assert checkpoint.metadata["left"].split() == ["layers/dense", "optimizer"]


def test_a_frozen_model_keeps_its_statistics(model, network):
    import se_tf
    from se_weights import weights_sha256

    model.trainable = False
    model(images(network), training=True)
    assert weights_sha256(se_tf.read_weights(model)) == weights_sha256(network.weights)


def test_mixed_precision_keeps_float32_weights_and_gives_close_logits():
    import keras

    import se_tf

    network = named_network("se_resnet18")
    model = se_tf.SEResNet(network.architecture, dtype="mixed_bfloat16")
    se_tf.load_weights(model, network.weights)
    assert {variable.dtype for variable in model.variables} == {"float32"}
    logits = model(images(network))
    assert keras.backend.standardize_dtype(logits.dtype) == "bfloat16"
    logits = keras.ops.convert_to_numpy(keras.ops.cast(logits, "float32"))
    assert 0 < compare(network.reference, logits).share <= BFLOAT16_LOGITS


def test_the_global_dtype_policy_is_followed():
    import keras

    import se_tf

    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = se_tf.create_model("se_resnet20_cifar")
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.layer1[0].conv1.compute_dtype == "bfloat16"
    assert model.dtype_policy.name == "mixed_bfloat16"


def test_blocks_and_layers_can_be_used_in_another_model(tmp_path):
    import keras

    import se_tf
    from se_spec import Block

    block = Block("bottleneck", in_channels=6, mid_channels=4, out_channels=16, stride=2, squeezed_channels=4)
    inputs = keras.Input((None, None, 6))
    x = se_tf.SELayer(6, 2, bias=True)(inputs)
    model = keras.Model(inputs, se_tf.SEBottleneck(block, name="block")(x))
    model.save(tmp_path / "theirs.keras")
    again = keras.saving.load_model(tmp_path / "theirs.keras")
    x = np.random.default_rng(0).normal(size=(2, 9, 7, 6)).astype(np.float32)
    assert np.array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    assert again.get_layer("block").block == block


def test_a_users_channels_first_setting_does_not_change_the_logits(tmp_path):
    script = """
import numpy as np, keras, se_tf
from parity_tests.support.cases import small_network
from se_parity import compare
assert keras.config.image_data_format() == "channels_first"
network = small_network("bottleneck")
model = se_tf.SEResNet(network.architecture)
se_tf.load_weights(model, network.weights)
logits = model.predict(np.moveaxis(network.images, 1, -1), verbose=0)
assert compare(network.reference, logits).share <= network.limit
"""
    (tmp_path / "keras.json").write_text(
        '{"image_data_format": "channels_first", "backend": "tensorflow", "floatx": "float32", "epsilon": 1e-7}'
    )
    import os

    environment = {**os.environ, "KERAS_HOME": str(tmp_path), "TF_CPP_MIN_LOG_LEVEL": "3"}
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr[-2000:]


def test_a_compiled_training_step_updates_the_variance_as_torch_does(network):
    """The unbiased variance must also be stored under tf.function and XLA, where the compiler orders assignments."""
    import keras
    import tensorflow as tf

    import se_tf

    results = []
    for wrap in (lambda call: call, tf.function, lambda call: tf.function(call, jit_compile=True)):
        model = se_tf.SEResNet(network.architecture)
        se_tf.load_weights(model, network.weights)
        wrap(lambda x, model=model: model(x, training=True))(tf.constant(images(network)))
        results.append(se_tf.read_weights(model))
    assert keras.backend.backend() == "tensorflow"
    for other in results[1:]:
        for name, value in results[0].items():
            np.testing.assert_allclose(other[name], value, err_msg=name, **FLOAT32_STEP)
    assert FRAMEWORKS["tf"].package is se_tf


def test_create_model_takes_a_dtype_policy_and_the_summary_expands_blocks():
    import se_tf

    model = se_tf.create_model("se_resnet18", num_classes=3, dtype="mixed_bfloat16")
    assert (model.conv1.compute_dtype, model.conv1.variable_dtype) == ("bfloat16", "float32")
    lines = []
    model.summary(print_fn=lines.append, expand_nested=True)
    assert "layer4_1" in "\n".join(map(str, lines))
    assert se_tf.optimizers.SGD(0.1).momentum == 0


def test_the_error_for_a_file_of_another_network_names_from_file(model, network, tmp_path):
    import se_tf

    se_tf.SEResNet(network.architecture.replace(depths=(1, 1, 1))).save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(ValueError, match=r"se_tf\.from_file"):
        model.load_weights(tmp_path / "other.weights.h5")


def test_a_layer_that_is_assigned_does_not_change_the_architecture_of_the_graph(model, network):
    import keras

    import se_tf

    model.fc = keras.layers.Dense(10)
    assert model.architecture == network.architecture
    assert np.array_equal(se_tf.read_weights(model)["fc.bias"], network.weights["fc.bias"])
    assert model.reset_classifier(7).architecture.num_classes == 7
