"""Parity of training: losses, gradients, weights and statistics of every step."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

import se_spec
from parity_tests.support.cases import each_framework, network, skip_without, small_network
from se_cli.presentation.parity_tables import _training_verdict
from se_parity import Worker
from se_parity.examination import RECIPES, TRAINING_DTYPES
from se_parity.reference.backward import Backward
from se_parity.train.check_training import (
    RESULT_KINDS,
    ExpectedTraining,
    TensorComparison,
    check_training,
    expected_training,
)
from se_spec.families.se_densenet.architecture import SE_PLACES

DENSE = {"block_config": (2, 1), "growth_rate": 8, "num_init_features": 12, "bn_size": 2}

TRAINED = {
    "bottlenecks": ("se_resnet50", {"depths": (1, 2), "widths": (8, 12), "se_bias": True}),
    "basic blocks": ("se_resnet18", {"depths": (2, 1), "widths": (8, 12), "conv_bias": True, "stem": "3x3"}),
    "a deep stem, groups, averaging shortcuts": (
        "se_resnext26d",
        {"depths": (1, 1), "widths": (8, 16), "groups": 4, "base_width": 16, "squeeze": {"after_relu": True}},
    ),
    "norms before convolutions, ECA layers, a convolution for the pool": (
        "se_preresnet18",
        {
            "depths": (2, 1),
            "widths": (8, 12),
            "input_norm": True,
            "reduction": 16,
            "squeeze": "eca",
            "stem": {"kernel": 3, "inner": (4, 6), "pool": "convolution"},
        },
    ),
    "a norm after two convolutions": ("se_resnet18", {"depths": (2, 1), "widths": (8, 12), "shared_norms": True}),
    "dense layers": ("se_densenet121", {**DENSE, "small_inputs": True, "new_first": True}),
    "dense layers whose features are computed again": (
        "se_densenet121",
        {**DENSE, "se_places": SE_PLACES, "se_bias": True, "transition_pool": "ceil", "memory_efficient": True},
    ),
}


def trained(name: str):
    base, settings = TRAINED[name]
    architecture = se_spec.architecture(base, **{"num_classes": 5, "reduction": 4, **settings})
    return network(architecture, 4, 48, 33).case


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        pytest.param(
            *(name, recipe),
            id=f"{name}-{recipe.optimiser}",
            # both optimizers for the first network, and one for each other one; the rest in the sweep
            marks=[] if number == 0 or number % len(RECIPES) == optimiser else pytest.mark.sweep,
        )
        for number, name in enumerate(TRAINED)
        for optimiser, recipe in enumerate(RECIPES)
    ],
)
def test_ten_training_steps_in_float64_match_the_reference(worker, name, recipe):
    expected = expected_training(trained(name).astype("float64"), recipe, "float64")
    training = check_training(worker, expected, "float64")
    assert {one.kind for one in training.comparisons} == set(RESULT_KINDS)
    assert training.passed, training.first_failure


@pytest.mark.sweep
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.optimiser)
def test_ten_training_steps_in_float32_are_within_their_limits(worker, recipe):
    expected = expected_training(trained("bottlenecks").astype("float32"), recipe, "float32")
    training = check_training(worker, expected, "float32")
    assert training.passed, training.first_failure


@dataclass
class FaultyWorker:
    """Answers as a worker whose gradients are all 1 % too large, and whose other results are the reference's."""

    expected: ExpectedTraining
    framework: str = "torch"

    def load(self, *arguments):
        pass

    def train(self, *arguments):
        return {name: array * 1.01 if "/gradient/" in name else array for name, array in self.expected.results.items()}

    def logits(self, images):
        return self.expected.results[f"{self.expected.recipe.steps}/logits"]


@pytest.mark.parametrize("dtype", TRAINING_DTYPES)
def test_gradients_wrong_by_one_percent_fail_or_are_left_to_float64(dtype):
    recipe, steps = replace(RECIPES[0], learning_rates=(0.002, 0.005)), (1, 2)
    expected = expected_training(trained("bottlenecks").astype(dtype), recipe, dtype, steps)
    training = check_training(FaultyWorker(expected), expected, dtype, steps)
    gradients = [one for one in training.comparisons if one.kind == "gradient"]
    assert not any(one.passed for one in gradients if one.sensitive)
    assert all(one.sensitive for one in training.comparisons if dtype == "float64")
    verdict = str(_training_verdict(gradients))
    assert verdict == ("FAIL" if any(one.sensitive for one in gradients) else "float64")


@pytest.mark.parametrize("limit", [1e-9, 1e-3, 6e-3, 9e-3, 2e-2, 0.46])
def test_a_limit_that_accepts_an_error_of_one_percent_points_to_float64(limit):
    wrong = TensorComparison(1, "gradient", "fc.weight", 0.01, limit)
    assert not (wrong.passed and wrong.sensitive)
    assert str(_training_verdict([wrong])) == ("float64" if limit >= 0.01 else "FAIL")
    right = replace(wrong, share=limit / 2)
    assert str(_training_verdict([right])) == ("pass" if limit < 5e-3 else "float64")


def test_reference_gradients_match_finite_differences_of_the_loss():
    """Central differences along the direction of the gradient, one tensor at a time."""
    case = trained("a deep stem, groups, averaging shortcuts")
    labels = np.array([0, 3, 1, 4])
    found = Backward(case, labels).run()

    def loss(name: str, step: float) -> float:
        direction = found.gradients[name] / np.linalg.norm(found.gradients[name])
        weights = {**case.weights, name: np.asarray(case.weights[name], np.float64) + step * direction}
        changed = type(case)(case.name, case.architecture, weights, case.images)
        return Backward(changed, labels).run().loss

    for name in ("conv1.weight", "bn2.weight", "layer1.0.se.fc1.weight", "layer2.0.downsample.0.weight", "fc.bias"):
        slope = (loss(name, 1e-6) - loss(name, -1e-6)) / 2e-6
        assert slope == pytest.approx(np.linalg.norm(found.gradients[name]), rel=1e-4), name


@skip_without("torch")
def test_a_network_without_classes_has_no_loss():
    headless = small_network("basic").case
    architecture = headless.architecture.replace(num_classes=0)
    with pytest.raises(ValueError, match="no labels"):
        expected_training(
            type(headless)("headless", architecture, headless.weights, headless.images), RECIPES[0], "float64"
        )


@pytest.mark.parametrize("framework", each_framework("tf"))
def test_keras_optimizers_are_saved_with_their_own_settings(framework):
    import keras

    from se_tf.optimizers import SGD, AdamW

    for optimizer in (SGD(0.1, 0.9, 1e-4), AdamW(1e-3, 1e-2, epsilon=1e-6)):
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
        assert again.get_config() == optimizer.get_config()
        assert type(again) is type(optimizer)


def test_a_tensor_that_a_worker_does_not_return_fails_the_check():
    case = trained("bottlenecks").astype("float64")
    expected = expected_training(case, RECIPES[0], "float64")

    class Idle(Worker):
        def __init__(self) -> None:
            self.framework = "idle"

        def load(self, *_):
            return None

        def train(self, *_):
            return {name: array for name, array in expected.results.items() if "fc.bias" not in name}

        def logits(self, images, mode="eager"):
            return expected.results[f"{expected.recipe.steps}/logits"]

    training = check_training(Idle(), expected, "float64")
    assert not training.passed
    assert {one.name for one in training.comparisons if not one.passed} == {"fc.bias"}
