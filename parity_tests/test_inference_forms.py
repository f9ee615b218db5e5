"""What is deployed gives the logits of what was trained."""

import numpy as np
import pytest

from parity_tests.cases import small_network
from parity_tests.test_models import model_with
from parity_tests.tolerances import BFLOAT16_LOGITS
from se_parity import compare
from se_weights import WeightMismatch, weights_sha256


def raw(framework, function, images):
    """The function on the framework's own arrays."""
    if framework.name == "torch":
        import torch

        return function(torch.tensor(images)).numpy()
    if framework.name == "tf":
        import keras

        return np.asarray(function(keras.ops.convert_to_tensor(np.moveaxis(images, 1, -1))))
    import jax.numpy as jnp

    return np.asarray(function(jnp.asarray(np.moveaxis(images, 1, -1))))


def bfloat16(framework):
    if framework.name == "torch":
        import torch

        return torch.bfloat16
    return "bfloat16"


def test_it_gives_the_oracles_logits_and_leaves_the_model_alone(framework):
    network = small_network("bottleneck", se_bias=True)
    model = model_with(framework, network)
    optimised = framework.package.optimize_for_inference(model)
    for images in (network.images, network.images[:1]):
        logits = raw(framework, optimised, images)
        assert logits.dtype == np.float32
        truth = network.truth[: len(images)]
        assert np.abs(logits - truth).max() <= network.limit * np.ptp(network.truth)
    assert not model.architecture.folded
    assert weights_sha256(framework.package.read_weights(model)) == weights_sha256(network.weights)


def test_in_bfloat16_it_says_nearly_the_same_in_the_type_of_the_images(framework):
    network = small_network("basic")
    optimised = framework.package.optimize_for_inference(model_with(framework, network), dtype=bfloat16(framework))
    logits = raw(framework, optimised, network.images)
    assert logits.dtype == np.float32
    assert 0 < compare(network.truth, logits).share <= BFLOAT16_LOGITS


def test_a_folded_model_is_a_model_like_any_other(framework):
    network = small_network("bottleneck")
    folded = framework.package.fold_batchnorm(model_with(framework, network))
    assert folded.architecture.folded
    again = framework.package.fold_batchnorm(folded)
    weights = framework.package.read_weights(again)
    assert weights_sha256(weights) == weights_sha256(framework.package.read_weights(folded))


def test_a_norm_that_cannot_be_folded_is_named(framework):
    network = small_network("basic")
    model = model_with(framework, network)
    framework.package.load_weights(model, {**network.weights, "bn1.running_var": -network.weights["bn1.running_var"]})
    with pytest.raises(WeightMismatch, match=r"! bn1.running_var \+ epsilon"):
        framework.package.optimize_for_inference(model)
