"""The folded and the optimised form of a model give the logits of the trained model."""

import copy
import pickle
from contextlib import nullcontext
from functools import cache
from importlib import import_module

import numpy as np
import pytest

import se_spec
import se_weights
from parity_tests.support.cases import Network, full_size, network, skip_without
from parity_tests.support.frameworks import FRAMEWORKS
from parity_tests.support.tolerances import BFLOAT16_LOGITS, FLOAT32_LOGITS
from se_parity import compare
from se_weights import WeightMismatch, weights_sha256

SETTINGS = {"depths": (1, 1), "widths": (8, 12), "num_classes": 5, "reduction": 4, "se_bias": True}


@cache
def deployable(name: str = "se_resnet50", **settings: int) -> Network:
    """A small network, since some forms compile for longer the more different layers there are."""
    return network(se_spec.architecture(name, **SETTINGS, **settings))


def model_of(framework, known, tmp_path):
    path = tmp_path / "known.safetensors"
    se_weights.write(known.checkpoint, path)
    return framework.package.from_file(path)


def logits_of(framework, function, images):
    """Call a function on images (N, C, H, W) in the layout and the array type of the framework."""
    own = np.moveaxis(images, 1, framework.channel_axis)
    if framework.name == "torch":
        import torch

        return function(torch.tensor(own)).numpy()
    if framework.name == "tf":
        import keras

        return np.asarray(function(keras.ops.convert_to_tensor(own)))
    import jax.numpy as jnp

    return np.asarray(function(jnp.asarray(own)))


def bfloat16(framework):
    if framework.name == "torch":
        import torch

        return torch.bfloat16
    return "bfloat16"


@pytest.mark.sweep
def test_the_inference_form_gives_the_reference_logits_and_leaves_the_model_unchanged(framework, tmp_path):
    known = deployable()
    model = model_of(framework, known, tmp_path)
    logits = logits_of(framework, framework.package.optimize_for_inference(model), known.images)
    assert logits.dtype == np.float32
    assert compare(known.reference, logits).share <= known.limit
    assert not model.architecture.folded
    assert weights_sha256(framework.package.read_weights(model)) == weights_sha256(known.weights)


@pytest.mark.sweep
def test_the_folded_and_the_inference_form_are_within_1e_5_at_full_size(framework, tmp_path):
    model = model_of(framework, full_size(), tmp_path)
    deployed = framework.package.optimize_for_inference(model)
    folded = framework.package.fold_batchnorm(model)
    for logits in (logits_of(framework, deployed, full_size().images), framework.run(folded, full_size().images)):
        difference = compare(full_size().reference, logits)
        assert difference.share <= min(full_size().limit, FLOAT32_LOGITS)
        assert difference.top1 == difference.top5 == 1


@pytest.mark.sweep
def test_the_inference_form_takes_other_batch_sizes_and_merged_groups(framework, tmp_path):
    known = deployable("se_resnext50_32x4d", groups=8, base_width=16)
    deployed = framework.package.optimize_for_inference(model_of(framework, known, tmp_path))
    for count in (2, 1, 2):
        logits = logits_of(framework, deployed, known.images[:count])
        assert np.abs(logits - known.reference[:count]).max() <= known.limit * np.ptp(known.reference)


@pytest.mark.sweep
def test_a_bfloat16_inference_form_is_close_and_returns_the_dtype_of_the_images(framework, tmp_path):
    known = deployable()
    model = model_of(framework, known, tmp_path)
    logits = logits_of(
        framework, framework.package.optimize_for_inference(model, dtype=bfloat16(framework)), known.images
    )
    assert logits.dtype == np.float32
    assert 0 < compare(known.reference, logits).share <= BFLOAT16_LOGITS


def test_the_inference_form_is_a_model_that_can_be_pickled_copied_and_saved(framework, tmp_path):
    known = deployable()
    deployed = framework.package.optimize_for_inference(model_of(framework, known, tmp_path))
    assert isinstance(deployed, framework.package.SEResNet)
    framework.package.save(deployed, tmp_path / "deployed.safetensors")
    read = framework.package.from_file(tmp_path / "deployed.safetensors")
    for other in (pickle.loads(pickle.dumps(deployed)), copy.deepcopy(deployed), read):
        assert other.architecture == deployed.architecture
        with disabled_gradients(framework):
            assert compare(known.reference, logits_of(framework, other, known.images)).share <= known.limit


@pytest.mark.sweep
@skip_without("torch")
def test_the_inference_form_is_exported_by_torch(tmp_path):
    import torch

    known, framework = deployable(), FRAMEWORKS["torch"]
    deployed, x = framework.package.optimize_for_inference(model_of(framework, known, tmp_path)), known.images
    exported = torch.export.export(deployed, (torch.tensor(x),)).module()
    assert compare(known.reference, exported(torch.tensor(x)).numpy(force=True)).share <= known.limit
    unpickled = pickle.loads(pickle.dumps(deployed))
    assert deployed._compiled_call_impl is not None
    assert unpickled._compiled_call_impl is not None
    assert not any(parameter.requires_grad for parameter in unpickled.parameters())


@pytest.mark.sweep
@skip_without("tf")
def test_the_inference_form_is_saved_and_exported_by_keras(tmp_path):
    import keras
    import tensorflow as tf

    known, framework = deployable(), FRAMEWORKS["tf"]
    deployed = framework.package.optimize_for_inference(model_of(framework, known, tmp_path))
    deployed.save(tmp_path / "deployed.keras")
    deployed.export(tmp_path / "saved_model", verbose=False)
    outer = keras.Sequential([keras.Input((None, None, 3)), deployed])
    reloaded = keras.saving.load_model(tmp_path / "deployed.keras")
    exported = tf.saved_model.load(tmp_path / "saved_model")
    for function in (reloaded, exported.serve, outer):
        assert compare(known.reference, logits_of(framework, function, known.images)).share <= known.limit


@pytest.mark.sweep
@skip_without("flax")
def test_the_inference_form_is_jitted_split_and_merged_by_flax(tmp_path):
    import jax
    from flax import nnx

    known, framework = deployable(), FRAMEWORKS["flax"]
    deployed = framework.package.optimize_for_inference(model_of(framework, known, tmp_path))
    merged = nnx.merge(*nnx.split(deployed))
    for function in (jax.jit(deployed), nnx.jit(deployed), merged):
        assert compare(known.reference, logits_of(framework, function, known.images)).share <= known.limit


def disabled_gradients(framework):
    if framework.name != "torch":
        return nullcontext()
    import torch

    return torch.no_grad()


def test_a_folded_model_has_a_folded_architecture_and_the_folded_weights(framework, tmp_path):
    folded = framework.package.fold_batchnorm(model_of(framework, deployable(), tmp_path))
    assert folded.architecture.folded
    expected = se_weights.fold_batchnorm(deployable().checkpoint)
    assert weights_sha256(framework.package.read_weights(folded)) == weights_sha256(expected.weights)


def test_a_norm_that_cannot_be_folded_is_named(framework, tmp_path):
    known = deployable()
    model = model_of(framework, known, tmp_path)
    framework.package.load_weights(model, {**known.weights, "bn1.running_var": -known.weights["bn1.running_var"]})
    with pytest.raises(WeightMismatch, match=r"! bn1.running_var \+ epsilon"):
        framework.package.optimize_for_inference(model)


@pytest.mark.parametrize(
    "module",
    [
        pytest.param("se_tf.grouped_convolution", marks=skip_without("tf")),
        pytest.param("se_flax.convolve", marks=skip_without("flax")),
    ],
)
@pytest.mark.parametrize(
    ("channels", "groups", "merged"), [(4, 32, 8), (8, 32, 4), (16, 32, 1), (64, 1, 1), (4, 6, 6), (3, 1, 1)]
)
def test_narrow_groups_are_merged_by_a_divisor_of_their_count(module, channels, groups, merged):
    assert import_module(module).merged_groups(channels, groups) == merged
    assert groups % merged == 0
