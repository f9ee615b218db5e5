"""The oracle's own training in float64, and what rounding may do to it.

Every operation on the way there and back, and every weight after a step, is disturbed as rounding would disturb it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from se_parity.case import Case
from se_parity.inputs.trained_like import sample_images
from se_parity.judge.limits import ARITHMETIC, DEVIATIONS, Rounding
from se_parity.recipe import OPTIMISERS, Recipe, State, results_of
from se_parity.reference.backward import Backward
from se_parity.reference.oracle import Array, Oracle
from se_parity.run.runners import Batch

LEAST_BATCH = 4
"""Images a step, at least: with fewer, the norms of a network's last stage divide by the deviation of a handful of
values, and training is chaos in any framework."""


class Noise:
    """Rounding, as an observer of the way there and of the way back."""

    def __init__(self, dtype: str, draw: int) -> None:
        self.arithmetic = ARITHMETIC[dtype]
        self.draw = draw
        self.rng = np.random.default_rng([draw, 1])

    def of(self, case: Case, step: int) -> dict[str, Any]:
        observe = Rounding(case.weights, case.architecture.bn_epsilon, self.arithmetic, [self.draw, step])
        return {"observe": observe, "disturb": self.disturb}

    def disturb(self, gradient: Array, terms: int) -> Array:
        size = np.sqrt(np.mean(gradient**2)) * np.sqrt(max(terms / 2, 1.0))
        return gradient + DEVIATIONS * self.arithmetic.summed * size * self.rng.standard_normal(gradient.shape)

    def stored(self, weights: Mapping[str, Array]) -> dict[str, Array]:
        return {
            name: array + DEVIATIONS * self.arithmetic.stored * np.abs(array) * self.rng.standard_normal(array.shape)
            for name, array in weights.items()
        }


def training_batches(case: Case, steps: int, seed: int = 0) -> list[Batch]:
    """A batch a step, of the case's size, no two alike, with labels drawn at random."""
    rng = np.random.default_rng([seed, steps])
    count, _, height, width = case.images.shape
    count = max(count, LEAST_BATCH)
    classes = case.architecture.num_classes
    return [
        (
            sample_images(case.architecture, count, height, width, seed + step + 1),
            np.asarray(rng.integers(classes, size=count)),
        )
        for step in range(steps)
    ]


def without_dropout(case: Case) -> Case:
    """Each framework draws its own masks; training is compared without them."""
    return replace(case, architecture=case.architecture.replace(dropout=0.0))


def oracle_training(
    case: Case, recipe: Recipe, batches: Sequence[Batch], kept: Sequence[int], rounding: Noise | None = None
) -> dict[str, Array]:
    """What se_parity.run.client.Worker.train gives, from the oracle; and the `logits` of the case's images after it."""
    weights = {name: np.asarray(array, np.float64) for name, array in case.weights.items()}
    state: State = {}
    results: dict[str, Array] = {}
    update = OPTIMISERS[recipe.optimiser]
    for step, (images, labels) in enumerate(batches):
        now = Case(case.name, case.architecture, weights, images)
        noise = rounding.of(now, step) if rounding else {}
        found = Backward(now, labels, **noise).run()
        moved = {
            name: update(recipe, step, weights[name], gradient, state.setdefault(name, {}))
            for name, gradient in found.gradients.items()
        }
        weights = {**weights, **moved, **found.statistics}
        if rounding:
            weights = rounding.stored(weights)
        results |= results_of(step + 1, found.loss, found.gradients, weights, kept=step + 1 in kept)
    results[f"{recipe.steps}/logits"] = Oracle(case.architecture, weights).logits(case.images)
    return results
