"""What is deployed gives the logits of what was trained."""

from functools import cache
from importlib import import_module

import numpy as np
import pytest

import se_spec
import se_weights
from parity_tests.support.cases import Network, full_size, needs, network
from parity_tests.support.tolerances import BFLOAT16_LOGITS, FLOAT32_LOGITS
from se_parity import compare
from se_weights import WeightMismatch, weights_sha256

FACTS = {"depths": (1, 1), "widths": (8, 12), "num_classes": 5, "reduction": 4, "se_bias": True}


@cache
def deployable(name: str = "se_resnet50", **facts: int) -> Network:
    """Small, since some forms compile for as long as there are different layers; of odd and even sides, not square."""
    return network(se_spec.architecture(name, **FACTS, **facts))


def model_of(framework, known, tmp_path):
    path = tmp_path / "known.safetensors"
    se_weights.write(known.checkpoint, path)
    return framework.package.from_file(path)


def logits_of(framework, function, images):
    """What a function of the framework's own arrays gives for images (N, C, H, W)."""
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
def test_the_deployed_form_gives_the_oracles_logits_and_leaves_the_model_alone(framework, tmp_path):
    known = deployable()
    model = model_of(framework, known, tmp_path)
    logits = logits_of(framework, framework.package.optimize_for_inference(model), known.images)
    assert logits.dtype == np.float32
    assert compare(known.truth, logits).share <= known.limit
    assert not model.architecture.folded
    assert weights_sha256(framework.package.read_weights(model)) == weights_sha256(known.weights)


@pytest.mark.sweep
def test_at_full_size_the_folded_and_the_deployed_form_are_within_1e_5(framework, tmp_path):
    model = model_of(framework, full_size(), tmp_path)
    deployed = framework.package.optimize_for_inference(model)
    folded = framework.package.fold_batchnorm(model)
    for logits in (logits_of(framework, deployed, full_size().images), framework.run(folded, full_size().images)):
        difference = compare(full_size().truth, logits)
        assert difference.share <= min(full_size().limit, FLOAT32_LOGITS)
        assert difference.top1 == difference.top5 == 1


@pytest.mark.sweep
def test_the_deployed_form_takes_other_batches_and_groups_that_are_computed_together(framework, tmp_path):
    known = deployable("se_resnext50_32x4d", groups=8, base_width=16)
    deployed = framework.package.optimize_for_inference(model_of(framework, known, tmp_path))
    for count in (2, 1, 2):
        logits = logits_of(framework, deployed, known.images[:count])
        assert np.abs(logits - known.truth[:count]).max() <= known.limit * np.ptp(known.truth)


@pytest.mark.sweep
def test_in_bfloat16_it_says_nearly_the_same_in_the_type_of_the_images(framework, tmp_path):
    known = deployable()
    model = model_of(framework, known, tmp_path)
    logits = logits_of(
        framework, framework.package.optimize_for_inference(model, dtype=bfloat16(framework)), known.images
    )
    assert logits.dtype == np.float32
    assert 0 < compare(known.truth, logits).share <= BFLOAT16_LOGITS


def test_a_folded_model_is_one_like_any_other(framework, tmp_path):
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
        pytest.param("se_tf.grouped_convolution", marks=needs("tf")),
        pytest.param("se_flax.convolve", marks=needs("flax")),
    ],
)
@pytest.mark.parametrize(
    ("channels", "groups", "merged"), [(4, 32, 8), (8, 32, 4), (16, 32, 1), (64, 1, 1), (4, 6, 6), (3, 1, 1)]
)
def test_narrow_groups_are_computed_together_as_far_as_they_divide(module, channels, groups, merged):
    assert import_module(module).merged_groups(channels, groups) == merged
    assert groups % merged == 0
