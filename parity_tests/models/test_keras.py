"""The Keras model in the uses that Keras has: saving, cloning, summary, fit, dtype policies, compiled training."""

import copy
import json
import pickle
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


@pytest.mark.parametrize("file", ["model.keras", "model.weights.h5", "model.h5"])
def test_a_model_with_dropout_is_read(network, tmp_path, file):
    import se_tf
    import se_weights

    model = se_tf.SEResNet(network.architecture.replace(dropout=0.1, drop_path=0.2))
    model(images(network), training=True)
    model.save_weights(tmp_path / file) if "weights" in file else model.save(tmp_path / file)
    checkpoint = se_weights.read(tmp_path / file)
    assert checkpoint.architecture == model.architecture
    assert se_weights.weights_sha256(checkpoint.weights) == se_weights.weights_sha256(se_tf.read_weights(model))


def test_the_random_seeds_in_a_file_of_an_earlier_keras_are_left_out(model, network, tmp_path):
    import h5py

    import se_weights

    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    with h5py.File(path, "r+") as file:
        for layer in ("dropout", "se_basic_block/drop_path", "se_basic_block_2/drop_path"):
            file[f"layers/{layer}/seed_generator/vars/0"] = np.array([7, 9], np.uint32)
    read_back = se_weights.read(path, architecture=network.architecture)
    assert se_weights.weights_sha256(read_back.weights) == se_weights.weights_sha256(network.weights)


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

    known = network.architecture
    paths = {variable_path(parameter, known) for parameter in manifest(known)}
    assert {variable.path for variable in model.variables} == paths
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


def test_parts_of_a_densenet_can_be_used_in_another_model(tmp_path):
    import keras

    import se_tf

    sizes = named_network("se_densenet121 with every SE layer").architecture
    x, new = keras.Input((None, None, 12)), keras.Input((None, None, 8))
    block = se_tf.SETransition(sizes.transition(1))(se_tf.SEDenseBlock(sizes.block(1))(x))
    model = keras.Model([x, new], [block, se_tf.SEDenseLayer(sizes.block(1)[1])([x, new])])
    model.save(tmp_path / "theirs.keras")
    again = keras.saving.load_model(tmp_path / "theirs.keras")
    random = np.random.default_rng(0)
    features = [random.normal(size=(2, 9, 7, channels)).astype(np.float32) for channels in (12, 8)]
    for output, expected in zip(again.predict(features, verbose=0), model.predict(features, verbose=0), strict=True):
        assert np.array_equal(output, expected)
    assert [output.shape[3] for output in model.outputs] == [sizes.transition(1).conv.out_channels, 8]


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


def test_callbacks_save_stop_and_restore(model, network, tmp_path):
    import keras

    callbacks = [
        keras.callbacks.ModelCheckpoint(str(tmp_path / "best.keras"), save_best_only=True),
        keras.callbacks.ModelCheckpoint(str(tmp_path / "last.weights.h5"), save_weights_only=True),
        keras.callbacks.EarlyStopping(patience=1),
        keras.callbacks.ReduceLROnPlateau(),
        keras.callbacks.BackupAndRestore(str(tmp_path / "backup")),
    ]
    x, labels = images(network), np.arange(len(network.images))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, labels, validation_data=(x, labels), epochs=1, verbose=0, callbacks=callbacks)
    best = keras.saving.load_model(tmp_path / "best.keras")
    assert np.array_equal(best.predict(x, verbose=0), model.predict(x, verbose=0))
    model.load_weights(tmp_path / "last.weights.h5")


def test_a_copy_and_a_pickle_are_the_same_network(model, network):
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(again.predict(images(network), verbose=0), model.predict(images(network), verbose=0))
        assert again.architecture == model.architecture


def test_a_network_is_a_layer_of_sequential_and_functional_models_which_are_saved(model, network, tmp_path):
    import keras

    sequential = keras.Sequential([keras.layers.Rescaling(2.0), model, keras.layers.Softmax()])
    features = model.get_layer("pool").output
    functional = keras.Model(model.input, keras.layers.Dense(3, name="new_head")(features))
    for number, built in enumerate((sequential, functional)):
        expected = built.predict(images(network), verbose=0)
        built.save(tmp_path / f"{number}.keras")
        again = keras.saving.load_model(tmp_path / f"{number}.keras")
        assert np.array_equal(again.predict(images(network), verbose=0), expected)


def test_gradients_reach_every_weight_and_a_feature_map(model, network):
    import keras
    import tensorflow as tf

    block = model.get_layer(list(model.architecture.blocks())[-1].name.replace(".", "_"))
    both = keras.Model(model.input, [block.output, model.output])
    with tf.GradientTape(persistent=True) as tape:
        features, logits = both(images(network))
        score = tf.reduce_sum(logits[:, 1])
    assert all(gradient is not None for gradient in tape.gradient(score, model.trainable_variables))
    assert tape.gradient(score, features).shape == features.shape


def test_layers_are_frozen_one_by_one(model):
    for layer in model.layers:
        layer.trainable = layer.name == "fc"
    assert [weight.path for weight in model.trainable_weights] == ["fc/kernel", "fc/bias"]


def test_an_optimizer_keeps_a_moving_average_of_the_weights(model, network):
    import keras

    optimizer = keras.optimizers.SGD(0.01, use_ema=True, ema_momentum=0.5)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    labels = np.arange(len(network.images))
    model.fit(images(network), labels, verbose=0, callbacks=[keras.callbacks.SwapEMAWeights()])
    assert model.predict(images(network), verbose=0).shape == network.reference.shape


def test_a_distribution_strategy_trains_the_network(network):
    import keras
    import tensorflow as tf

    import se_tf

    with tf.distribute.MirroredStrategy(["cpu:0"]).scope():
        model = se_tf.SEResNet(network.architecture)
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    data = tf.data.Dataset.from_tensor_slices((images(network), np.arange(len(network.images)))).batch(2)
    model.fit(data, verbose=0, shuffle=False)
    assert se_tf.read_weights(model).keys() == network.weights.keys()


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")  # for another package, LiteRT
def test_tflite_gives_the_same_logits(model, network, tmp_path):
    import tensorflow as tf

    model.export(tmp_path / "exported", verbose=False)
    converted = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "exported")).convert()
    interpreter = tf.lite.Interpreter(model_content=converted)
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    x = images(network)
    interpreter.resize_tensor_input(source["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source["index"], x)
    interpreter.invoke()
    assert compare(network.reference, interpreter.get_tensor(target["index"])).share <= network.limit


def test_a_model_saved_as_h5_is_loaded_by_the_name_of_its_class(model, network, tmp_path):
    """Keras does not look up registered classes of models in legacy `.h5`; `from_file` needs no class."""
    import keras

    import se_tf

    model.save(tmp_path / "model.h5")
    again = keras.saving.load_model(tmp_path / "model.h5", custom_objects={"SEResNet": se_tf.SEResNet})
    for loaded in (again, se_tf.from_file(tmp_path / "model.h5")):
        assert np.array_equal(loaded.predict(images(network), verbose=0), model.predict(images(network), verbose=0))
