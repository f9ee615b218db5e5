"""The public functions and the models of the three packages; one test body for all frameworks."""

from fnmatch import fnmatchcase

import numpy as np
import pytest

import se_spec
import se_weights
from parity_tests.support.cases import network as network_of
from parity_tests.support.cases import small_network
from parity_tests.support.tolerances import FLOAT32_STATISTICS, INITIAL_DEVIATION
from se_parity import compare
from se_parity.reference.activations import record_activations
from se_parity.reference.pools import max_pool
from se_spec import Convolution, MaxPool, Role, manifest
from se_weights import WeightMismatch

EXPORTS = {
    "SELayer", "ECALayer", "SEBasicBlock", "SEBottleneck", "SEPreActBasicBlock", "SEPreActBottleneck",
    "SEDenseBlock",
    "SEDenseLayer",
    "SEDenseNet",
    "SETransition", "SEResNet",
    "create_model", "list_models", "read_weights", "load_weights", "from_file", "model_of", "save",
    "save_pretrained",
    "fold_batchnorm", "optimize_for_inference",
}  # fmt: skip

WRONG_IMAGES = [
    (np.zeros((1, 4, 8, 8), np.float32), ValueError, "C = 3"),
    (np.zeros((1, 8, 8, 3), np.float32), ValueError, "C = 3.*another axis"),
    (np.zeros((3, 8, 8), np.float32), ValueError, "C = 3"),
    (np.zeros((1, 3, 8, 8), np.uint8), TypeError, "floating-point"),
]


def model_with(framework, network):
    model = framework.package.SEResNet(network.architecture, **framework.options())
    framework.package.load_weights(model, network.weights)
    return model


def test_every_package_exports_the_same_names(framework):
    assert set(framework.package.__all__) == EXPORTS


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("se_bias", [False, True])
def test_a_model_has_exactly_the_parameters_of_the_manifest(framework, block, se_bias):
    architecture = small_network(block, se_bias=se_bias).architecture
    model = framework.package.SEResNet(architecture, **framework.options())
    weights = framework.package.read_weights(model)
    assert [(name, array.shape) for name, array in weights.items()] == [
        (parameter.name, parameter.shape) for parameter in manifest(architecture)
    ]
    assert count_variables(framework, model) == len(weights)


def count_variables(framework, model) -> int:
    """Number of arrays that the framework itself finds in the model, without torch's num_batches_tracked."""
    match framework.name:
        case "torch":
            return sum(not name.endswith("num_batches_tracked") for name in model.state_dict())
        case "tf":
            return len(model.variables)
        case "flax":
            from flax import nnx

            return len(nnx.to_flat_state(nnx.state(model)))


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_read_weights_returns_what_load_weights_was_given(framework, block):
    network = small_network(block, se_bias=True)
    model = model_with(framework, network)
    read = framework.package.read_weights(model)
    assert se_weights.weights_sha256(read) == se_weights.weights_sha256(network.weights)


def test_loading_does_not_change_the_callers_arrays(framework):
    network = small_network()
    weights = {name: array.copy() for name, array in network.weights.items()}
    model = framework.package.SEResNet(network.architecture, **framework.options())
    framework.package.load_weights(model, weights)
    framework.run(model, network.images, training=True)
    assert se_weights.weights_sha256(weights) == se_weights.weights_sha256(network.weights)


def test_loading_lists_every_difference_and_changes_nothing(framework):
    network = small_network()
    model = model_with(framework, network)
    wrong = dict(network.weights)
    missing, misshapen = wrong.pop("bn1.weight"), "layer1.0.conv2.weight"
    assert missing.size
    wrong |= {misshapen: wrong[misshapen][:-1], "bn1.gain": missing, "fc.bias": wrong["fc.bias"].astype(int)}
    with pytest.raises(WeightMismatch) as caught:
        framework.package.load_weights(model, wrong)
    assert {line.split()[:2][0] + line.split()[1] for line in caught.value.differences} == {
        "-bn1.weight", "+bn1.gain", f"!{misshapen}", "!fc.bias",
    }  # fmt: skip
    read = framework.package.read_weights(model)
    assert se_weights.weights_sha256(read) == se_weights.weights_sha256(network.weights)


def test_training_mode_updates_running_statistics_as_torch_does(framework):
    """Weight 0.1 for the new value, and the unbiased variance; the expected values are computed from one batch."""
    network = small_network("basic")
    model = model_with(framework, network)
    framework.run(model, network.images, training=True)
    weights = framework.package.read_weights(model)
    from se_parity.reference.convolution import convolve

    (conv1,) = network.architecture.stem_convolutions
    entering = convolve(network.images.astype(float), network.weights["conv1.weight"].astype(float), conv1)
    for statistic, batch in (
        ("running_mean", entering.mean(axis=(0, 2, 3))),
        ("running_var", entering.var(axis=(0, 2, 3), ddof=1)),
    ):
        expected = 0.9 * network.weights[f"bn1.{statistic}"] + 0.1 * batch
        assert np.abs(weights[f"bn1.{statistic}"] - expected).max() <= FLOAT32_STATISTICS * np.abs(expected).max()
    moved = [name for name in weights if not np.array_equal(weights[name], network.weights[name])]
    statistics = [p.name for p in manifest(network.architecture) if not p.role.learned]
    assert moved == statistics


def test_the_running_variance_is_unbiased(framework):
    """With two values a channel, the unbiased variance is twice the biased one."""
    norm = framework.layers.batch_norm(Convolution(3, 3, 1), 1e-5, **framework.options())
    x = np.array([[[[1.0]], [[2.0]], [[-4.0]]], [[[3.0]], [[2.5]], [[4.0]]]], np.float32)
    framework.run(norm, x, training=True)
    variance = (
        norm.moving_variance if framework.name == "tf" else norm.running_var if framework.name == "torch" else norm.var
    )
    expected = 0.9 + 0.1 * x[:, :, 0, 0].var(axis=0, ddof=1)
    np.testing.assert_allclose(np.asarray(variance[...]), expected, rtol=FLOAT32_STATISTICS)


def test_evaluation_does_not_change_the_statistics(framework):
    network = small_network("basic")
    model = model_with(framework, network)
    logits = framework.run(model, network.images)
    assert compare(network.reference, logits).share <= network.limit
    read = framework.package.read_weights(model)
    assert se_weights.weights_sha256(read) == se_weights.weights_sha256(network.weights)


SMALLEST_SIDES = [
    ({}, 1),
    ({"stem": {"pool": "ceil"}}, 3),
    ({"antialias": "mean"}, 3),
    ({"antialias": "blur"}, 5),
    ({"antialias": "blur", "stem": "3x3"}, 2),
]


@pytest.mark.parametrize(("settings", "side"), SMALLEST_SIDES, ids=str)
def test_the_smallest_images_are_taken_and_smaller_ones_refused(framework, settings, side):
    two_stages = {"depths": (1, 1), "widths": (8, 12), "num_classes": 5, "reduction": 4}
    network = network_of(se_spec.architecture("se_resnet18", **two_stages, **settings), 2, side, side)
    model = model_with(framework, network)
    assert compare(network.reference, framework.run(model, network.images)).share <= network.limit
    if side > 1:
        with pytest.raises(ValueError, match=f"{side} pixels a side or more"):
            framework.run(model, network.images[:, :, 1:])


@pytest.mark.parametrize("alignment", ["pad1", "ceil", "same"])
def test_a_max_pool_of_negative_values_stays_negative(framework, alignment):
    x = -1 - np.random.default_rng(0).random((2, 3, 7, 10)).astype(np.float32)
    pool = MaxPool(alignment)
    assert np.array_equal(framework.run(framework.layers.max_pool(pool), x), max_pool(x, pool))


def test_drop_path_drops_the_residuals_of_images_in_training_only(framework):
    layer = framework.layers.drop_path(0.25, **framework.options())
    x = 1 + np.random.default_rng(0).random((2000, 2, 1, 3)).astype(np.float32)
    first, second = (framework.run(layer, x, training=True) for _ in range(2))
    kept = first.any(axis=(1, 2, 3))
    assert kept.mean() == pytest.approx(0.75, abs=0.05)
    np.testing.assert_allclose(first[kept], x[kept] / 0.75, rtol=1e-6)
    assert not np.array_equal(kept, second.any(axis=(1, 2, 3)))
    assert np.array_equal(framework.run(layer, x), x)


def test_a_network_with_drop_path_drops_residuals_of_its_blocks_in_training(framework):
    network = small_network("basic")
    config = {"depths": (1, 2), "widths": (8, 12), "drop_path": 1 - 1e-6}  # of the last block
    architecture = network.architecture.replace(**config)
    model = framework.package.SEResNet(architecture, **framework.options())
    *_, block = [block for stage in (model.layer1, model.layer2) for block in stage]
    x = 1 + np.random.default_rng(0).random((2, architecture.widths[1], 4, 3)).astype(np.float32)
    assert np.array_equal(framework.run(block, x, training=True), x)
    assert not np.array_equal(framework.run(block, x), x)


@pytest.mark.parametrize("suffix", [".pth", ".weights.h5", ".msgpack"])
def test_a_network_with_drop_path_trains_and_is_saved_and_read(framework, tmp_path, suffix):
    network = small_network("bottleneck")
    model = framework.package.SEResNet(network.architecture.replace(drop_path=0.5), **framework.options())
    framework.package.load_weights(model, network.weights)
    framework.run(model, network.images, training=True)
    framework.package.save(model, tmp_path / f"small{suffix}")
    again = framework.package.from_file(tmp_path / f"small{suffix}")
    assert again.architecture == model.architecture
    assert np.array_equal(framework.run(again, network.images), framework.run(model, network.images))
    framework.run(again, network.images, training=True)


def test_initial_weights_have_the_same_distribution_in_every_framework(framework):
    architecture = se_spec.architecture("se_resnet18", num_classes=100)
    weights = framework.package.read_weights(framework.package.SEResNet(architecture, **framework.options()))
    for parameter in manifest(architecture):
        array, shape = weights[parameter.name], parameter.shape
        match parameter.role:
            case Role.CONVOLUTION:  # He-normal by fan-out: sqrt(2 / (outputs x kernel area))
                expected, normal = np.sqrt(2 / (shape[0] * shape[2] * shape[3])), True
            case Role.GATE | Role.CHANNEL_CONVOLUTION | Role.CLASSIFIER:  # uniform within 1 / sqrt(inputs)
                expected, normal = 1 / np.sqrt(3 * shape[1]), False
                assert np.abs(array).max() <= 1 / np.sqrt(shape[1])
            case Role.GAMMA | Role.VARIANCE:
                assert (array == 1).all()
                continue
            case _:
                assert (array == 0).all()
                continue
        if array.size < 8192:
            continue
        assert array.std() == pytest.approx(expected, rel=INITIAL_DEVIATION), parameter.name
        assert np.mean(array**4) / np.mean(array**2) ** 2 == pytest.approx(3 if normal else 1.8, rel=0.15), (
            parameter.name
        )


def test_zero_init_residual_zeroes_the_last_gamma_of_every_block(framework):
    model = framework.package.create_model("se_resnet18", num_classes=3, zero_init_residual=True, **framework.options())
    weights = framework.package.read_weights(model)
    zero = [name for name, array in weights.items() if name.endswith("bn2.weight") and not array.any()]
    assert len(zero) == 8
    assert all(weights[name].any() for name in weights if name.endswith("bn1.weight"))


def test_zero_init_residual_is_refused_for_a_folded_network(framework):
    with pytest.raises(se_spec.ArchitectureError, match="norms are folded"):
        framework.package.create_model("se_resnet18", folded=True, zero_init_residual=True, **framework.options())


@pytest.mark.parametrize(("images", "error", "complaint"), WRONG_IMAGES)
def test_wrong_images_raise_an_error_that_says_what_is_expected(framework, images, error, complaint):
    model = framework.package.create_model("se_resnet20_cifar", **framework.options())
    with pytest.raises(error, match=complaint):
        framework.run(model, images)


def test_list_models_takes_a_pattern(framework):
    every = framework.package.list_models()
    assert every == se_spec.list_architectures()
    assert framework.package.list_models("se_*_cifar") == [name for name in every if fnmatchcase(name, "se_*_cifar")]


def test_create_model_names_the_invalid_setting(framework):
    with pytest.raises(ValueError, match="no architecture 'se_resnet51'"):
        framework.package.create_model("se_resnet51", **framework.options())
    for argument, says in {
        "include_top": "num_classes=0",
        "weights": "pretrained=True",
        "in_chans": "in_channels",
    }.items():
        with pytest.raises(ValueError, match=f"no field '{argument}': .*{says}"):
            framework.package.create_model("se_resnet18", **{argument: True}, **framework.options())
    with pytest.raises(ValueError, match="reduction"):
        framework.package.create_model("se_resnet18", reduction=1024, **framework.options())


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".weights.h5", ".msgpack", ".npz"])
def test_from_file_gives_a_model_in_evaluation_mode(framework, tmp_path, suffix):
    network = small_network("basic")
    path = tmp_path / f"small{suffix}"
    se_weights.write(network.checkpoint, path)
    model = framework.package.from_file(path)
    assert model.architecture.depths == network.architecture.depths
    assert not getattr(model, "training", False)
    assert compare(network.reference, raw_call(framework, model, network.images)).share <= network.limit


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".weights.h5", ".msgpack", ".npz"])
def test_save_keeps_the_settings_that_no_tensor_shows(framework, tmp_path, suffix):
    network = small_network("bottleneck")
    dropped = {"dropout": 0.1, "drop_path": 0.2}
    settings = {"stride_in": "conv1", "stem": {"pool": "ceil"}, "bn_epsilon": 1e-3, **dropped}
    model = framework.package.SEResNet(network.architecture.replace(**settings), **framework.options())
    framework.package.load_weights(model, network.weights)
    framework.package.save(model, tmp_path / f"small{suffix}")
    again = framework.package.from_file(tmp_path / f"small{suffix}")
    assert again.architecture == model.architecture
    for name, array in framework.package.read_weights(again).items():
        assert np.array_equal(array, network.weights[name])
    with pytest.raises(se_weights.TargetExists):
        framework.package.save(model, tmp_path / f"small{suffix}")


def reset_classifier(framework, model, num_classes):
    return model.reset_classifier(num_classes, **framework.options())


@pytest.mark.parametrize("classes", [10, 0])
def test_reset_classifier_starts_a_new_one_and_keeps_the_other_weights(framework, classes):
    network = small_network("basic")
    model = reset_classifier(framework, model_with(framework, network), classes)
    assert model.architecture.num_classes == classes
    weights = framework.package.read_weights(model)
    assert [name for name in weights if name.startswith("fc")] == ["fc.weight", "fc.bias"][: 2 * bool(classes)]
    for name, array in weights.items():
        assert name.startswith("fc") or np.array_equal(array, network.weights[name])
    features = framework.run(model, network.images)
    assert features.shape == (len(network.images), classes or network.architecture.features)
    if not classes:
        headless = framework.package.SEResNet(network.architecture.replace(num_classes=0), **framework.options())
        framework.package.load_weights(headless, weights)
        assert np.array_equal(features, framework.run(headless, network.images))


def test_from_file_starts_a_new_classifier_and_says_so(framework, tmp_path, caplog):
    network = small_network("basic")
    se_weights.write(network.checkpoint, tmp_path / "small.npz")
    model = framework.package.from_file(tmp_path / "small.npz", num_classes=10)
    assert framework.run(model, network.images).shape == (len(network.images), 10)
    assert "small.npz has a classifier of 5 classes" in caplog.text
    caplog.clear()
    same = framework.package.from_file(tmp_path / "small.npz", num_classes=network.architecture.num_classes)
    assert np.array_equal(framework.package.read_weights(same)["fc.bias"], network.weights["fc.bias"])
    assert not caplog.text


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_features_of_the_stages_are_those_of_the_reference_with_the_sizes_that_are_told(framework, block):
    network = small_network(block)
    model = model_with(framework, network)
    if framework.name != "tf":
        model.eval()
    images = np.moveaxis(network.images, 1, framework.channel_axis)
    features = {
        name: np.moveaxis(as_numpy(framework, values), framework.channel_axis, 1)
        for name, values in model.stage_features(as_tensor(framework, images)).items()
    }
    outputs = network.architecture.stage_outputs
    assert list(features) == list(outputs)
    seen = record_activations(network.case).outputs
    for name, depth in zip(list(outputs)[1:], network.architecture.depths, strict=True):
        assert features[name].shape[1] == outputs[name].channels
        assert [-(-side // outputs[name].stride) for side in network.images.shape[2:]] == list(features[name].shape[2:])
        assert compare(seen[f"{name}.{depth - 1}"], features[name]).share <= network.limit
    last = as_numpy(framework, model.forward_features(as_tensor(framework, images)))
    assert np.array_equal(np.moveaxis(last, framework.channel_axis, 1), features[name])


def as_tensor(framework, array):
    if framework.name == "torch":
        import torch

        return torch.tensor(array)
    return array


def as_numpy(framework, tensor):
    return tensor.numpy(force=True) if framework.name == "torch" else np.asarray(tensor)


def around(framework, model):
    """The network in a larger model, as the users of the framework build one."""
    if framework.name == "torch":
        import torch

        return torch.nn.DataParallel(model)
    if framework.name == "tf":
        import keras

        return keras.Model(model.inputs, keras.layers.Dense(10)(model.get_layer("pool").output))
    from flax import nnx

    return nnx.Sequential(model)


def test_a_model_around_the_network_is_not_read_but_the_network_in_it(framework, tmp_path):
    outer = around(framework, model_with(framework, small_network()))
    for use in (framework.package.read_weights, framework.package.fold_batchnorm):
        with pytest.raises(TypeError, match="pass the network that it contains"):
            use(outer)


def raw_call(framework, model, images):
    """Call the model without choosing training or evaluation mode."""
    if framework.name == "torch":
        import torch

        return model(torch.tensor(images)).numpy(force=True)
    return np.asarray(model(np.moveaxis(images, 1, -1)))
