"""Find the known fault that explains training that differs from the reference.

A wrong gradient is explained by the reference's backward pass with a fault, wrong running statistics by the reference's
activations, and wrong weights by the framework's own gradients, so that faults of the optimiser are separated from
faults of the gradients.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from se_parity.diagnose.explain import Explanation
from se_parity.reference.backward import Backward
from se_parity.reference.oracle import Array
from se_parity.train.check_training import ExpectedTraining, Training
from se_parity.train.training_faults import GRADIENT_FAULTS, OPTIMISER_FAULTS, STATISTICS_FAULTS
from se_spec.layers import BatchNorm

Results = Mapping[str, NDArray]

MATCHING_SHARE = 0.1
"""The largest error of a fault that explains the results, as a share of the error of the reference without it."""


def explain_training(expected: ExpectedTraining, training: Training) -> list[Explanation]:
    """Compare the results with those of every known fault of the kind that fails first.

    Args:
        expected: the reference's training.
        training: a framework's, compared with it.

    Returns:
        Explanations, the nearest fault first; empty if nothing failed, or if only rounding was amplified.
    """
    failure, results = training.first_failure, training.results
    if not failure:
        return []
    kind = "gradient" if failure.kind in ("loss", "logits") else failure.kind
    faulty = {"gradient": _gradients, "statistics": _statistics, "weight": _weights}[kind](expected, results)
    correct = {name: expected.results[name] for name in next(iter(faulty.values()))}
    unexplained = _largest_difference(results, correct, expected)
    floor = max(expected.limits[name] for name in correct)
    if unexplained <= floor:
        return []  # the failure is rounding of these results, amplified in later steps
    limit = max(unexplained * MATCHING_SHARE, floor)
    errors = {
        fault: _largest_difference(results, predicted, expected)
        for fault, predicted in faulty.items()
        if _largest_difference(correct, predicted, expected) > floor
    }
    tensors = sorted({_tensor_name(name) for name in correct})[:3]
    explanations = []
    for fault, error in sorted(errors.items(), key=lambda item: item[1]):
        next_error = min((other for name, other in errors.items() if name != fault), default=np.inf)
        explanations.append(Explanation(fault, tensors, error, limit, next_error / max(error, 1e-300)))
    return explanations


def _gradients(expected: ExpectedTraining, results: Results) -> dict[str, dict[str, Array]]:
    """The gradients of the first step with each fault of the backward pass."""
    images, labels = expected.batches[0]
    case = replace(expected.case, images=images)
    return {
        name: {f"1/gradient/{tensor}": array for tensor, array in backward(case, labels).run().gradients.items()}
        for name, backward in GRADIENT_FAULTS.items()
    }


def _statistics(expected: ExpectedTraining, results: Results) -> dict[str, dict[str, Array]]:
    """The running statistics after the first step with each fault of a batch norm."""
    images, labels = expected.batches[0]
    backward = Backward(replace(expected.case, images=images), labels)
    inputs: dict[str, list[Array]] = {}
    for node in backward.graph.nodes:
        if isinstance(node.operation, BatchNorm):
            inputs.setdefault(node.layer, []).append(backward.inputs[node.path])
    return {
        name: {
            f"1/weight/{norm}.{leaf}": statistic(leaf, backward.weights[f"{norm}.{leaf}"], uses)
            for norm, uses in inputs.items()
            for leaf in ("running_mean", "running_var")
        }
        for name, statistic in STATISTICS_FAULTS.items()
    }


def _weights(expected: ExpectedTraining, results: Results) -> dict[str, dict[str, Array]]:
    """The weights with each fault of the optimiser, after as many consecutive steps as have recorded gradients."""
    steps = [1]
    while f"{steps[-1] + 1}/gradient/conv1.weight" in results:
        steps.append(steps[-1] + 1)
    faulty: dict[str, dict[str, Array]] = {}
    for name, update in OPTIMISER_FAULTS[expected.recipe.optimiser].items():
        faulty[name] = {}
        for tensor in [key.removeprefix("1/gradient/") for key in expected.results if key.startswith("1/gradient/")]:
            weight = np.asarray(expected.case.weights[tensor], np.float64)
            state: dict[str, Array] = {}
            for step in steps:
                gradient = np.asarray(results[f"{step}/gradient/{tensor}"], np.float64)
                weight = update(expected.recipe, step - 1, weight, gradient, state)
                faulty[name][f"{step}/weight/{tensor}"] = weight
    return faulty


def _largest_difference(results: Results, predicted: Mapping[str, Array], expected: ExpectedTraining) -> float:
    """The largest difference of any predicted result, as a share of its scale; infinite where a result is missing."""
    return max(
        float(np.abs(np.asarray(results[name], np.float64) - array).max() / expected.scales[name])
        if name in results and results[name].shape == array.shape
        else np.inf
        for name, array in predicted.items()
    )


def _tensor_name(result: str) -> str:
    """The canonical name in `STEP/KIND/NAME`."""
    return result.split("/", 2)[2]
