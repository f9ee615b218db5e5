"""Which known fault a wrong training has: the one that gives what a framework gave is named.

Gradients are explained by the oracle's way back with the fault in it; statistics by the oracle's own batch; weights by
the framework's own gradients, so that an optimiser is told from what it was given.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from se_parity.diagnose.explain import Explanation
from se_parity.reference.backward import Backward
from se_parity.reference.oracle import Array
from se_parity.train.training import Training, TrainingTruth
from se_parity.train.training_faults import GRADIENT_FAULTS, OPTIMISER_FAULTS, STATISTICS_FAULTS

Results = Mapping[str, NDArray]

NEAR = 0.1
"""A fault explains what it comes ten times nearer to than the truth is."""


def explain_training(truth: TrainingTruth, training: Training) -> list[Explanation]:
    """The nearest known faults of what failed first, nearest first; none where nothing failed."""
    failed, results = training.first, training.results
    if not failed:
        return []
    kind = "gradient" if failed.kind in ("loss", "logits") else failed.kind
    tried = {"gradient": _gradients, "statistics": _statistics, "weight": _weights}[kind](truth, results)
    right = {name: truth.results[name] for name in next(iter(tried.values()))}
    off, floor = _distance(results, right, truth), max(truth.limits[name] for name in right)
    if off <= floor:
        return []  # what failed grew out of rounding in later steps
    limit = max(off * NEAR, floor)
    errors = {
        name: _distance(results, predicted, truth)
        for name, predicted in tried.items()
        if _distance(right, predicted, truth) > floor
    }
    return [
        Explanation(
            name,
            sorted({_tensor(one) for one in right})[:3],
            error,
            limit,
            min((e for other, e in errors.items() if other != name), default=np.inf) / max(error, 1e-300),
        )
        for name, error in sorted(errors.items(), key=lambda item: item[1])
    ]


def _gradients(truth: TrainingTruth, results: Results) -> dict[str, dict[str, Array]]:
    images, labels = truth.batches[0]
    case = replace(truth.case, images=images)
    found = {name: fault(case, labels).run().gradients for name, fault in GRADIENT_FAULTS.items()}
    return {
        name: {f"1/gradient/{tensor}": array for tensor, array in gradients.items()}
        for name, gradients in found.items()
    }


def _statistics(truth: TrainingTruth, results: Results) -> dict[str, dict[str, Array]]:
    images, labels = truth.batches[0]
    way = Backward(replace(truth.case, images=images), labels)
    norms = [path for path in way.inputs if f"{path}.running_mean" in way.weights]
    return {
        name: {
            f"1/weight/{path}.{word}": statistic(word, way.weights[f"{path}.{word}"], way.inputs[path])
            for path in norms
            for word in ("running_mean", "running_var")
        }
        for name, statistic in STATISTICS_FAULTS.items()
    }


def _weights(truth: TrainingTruth, results: Results) -> dict[str, dict[str, Array]]:
    """After the first step, and after every further one whose gradients are kept."""
    steps = [1]
    while f"{steps[-1] + 1}/gradient/conv1.weight" in results:
        steps.append(steps[-1] + 1)
    predicted: dict[str, dict[str, Array]] = {}
    for name, update in OPTIMISER_FAULTS[truth.recipe.optimiser].items():
        predicted[name] = {}
        for tensor in [key.removeprefix("1/gradient/") for key in truth.results if key.startswith("1/gradient/")]:
            weight = np.asarray(truth.case.weights[tensor], np.float64)
            state: dict[str, Array] = {}
            for step in steps:
                gradient = np.asarray(results[f"{step}/gradient/{tensor}"], np.float64)
                weight = update(truth.recipe, step - 1, weight, gradient, state)
                predicted[name][f"{step}/weight/{tensor}"] = weight
    return predicted


def _distance(results: Results, predicted: Mapping[str, Array], truth: TrainingTruth) -> float:
    return max(
        float(np.abs(np.asarray(results[name], np.float64) - array).max() / truth.scales[name])
        if name in results and results[name].shape == array.shape
        else np.inf
        for name, array in predicted.items()
    )


def _tensor(name: str) -> str:
    return name.partition("/")[2].partition("/")[2]
