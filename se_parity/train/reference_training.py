"""The float64 reference's own training, optionally with simulated rounding."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from se_parity.case import Case
from se_parity.inputs.trained_like import sample_images
from se_parity.judge.limits import DEVIATIONS, UNIT_ROUNDOFF, SimulatedRounding
from se_parity.recipe import OPTIMISERS, Recipe, State
from se_parity.reference.backward import Backward
from se_parity.reference.oracle import Array, Oracle
from se_parity.run.runners import Batch, TrainedStep

MIN_BATCH = 4
"""The smallest batch size. With fewer images, the norms of a network's last stage divide by the deviation of a handful
of values, and training amplifies rounding without bound in any framework."""


class TrainingRounding:
    """Simulates rounding in training: in every operation of both passes, and in every weight after a step.

    Args:
        dtype: whose rounding is simulated.
        draw: the number of the simulation, which seeds its random errors.
    """

    def __init__(self, dtype: str, draw: int) -> None:
        self.roundoff = UNIT_ROUNDOFF[dtype]
        self.draw = draw
        self.rng = np.random.default_rng([draw, 1])

    def observers(self, case: Case, step: int) -> dict[str, Any]:
        """The observers of a Backward, as keyword arguments.

        Args:
            case: the weights and the epsilon of the step.
            step: counted from 0; seeds the random errors of the forward pass.
        """
        observe = SimulatedRounding(case.architecture, case.weights, self.roundoff, [self.draw, step])
        return {"observe": observe, "observe_gradient": self.perturb_gradient}

    def perturb_gradient(self, gradient: Array, terms: int) -> Array:
        """Add a random error to a gradient, as summing in the dtype would; a GradientObserver.

        Args:
            gradient: of any shape.
            terms: how many terms each of its values sums.
        """
        size = np.sqrt(np.mean(gradient**2)) * np.sqrt(max(terms / 2, 1.0))
        return gradient + DEVIATIONS * self.roundoff.summed * size * self.rng.standard_normal(gradient.shape)

    def perturb_weights(self, weights: Mapping[str, Array]) -> dict[str, Array]:
        return {
            name: array + DEVIATIONS * self.roundoff.stored * np.abs(array) * self.rng.standard_normal(array.shape)
            for name, array in weights.items()
        }


def training_batches(case: Case, steps: int, seed: int = 0) -> list[Batch]:
    """Draw a different batch for every step, with random labels.

    Args:
        case: sets the size of the images and the batch size, which is at least MIN_BATCH.
        steps: the number of batches.
        seed: of images and labels.
    """
    rng = np.random.default_rng([seed, steps])
    count, _, height, width = case.images.shape
    count = max(count, MIN_BATCH)
    classes = case.architecture.num_classes
    return [
        (
            sample_images(case.architecture, count, height, width, seed + step + 1),
            np.asarray(rng.integers(classes, size=count)),
        )
        for step in range(steps)
    ]


def without_dropout(case: Case) -> Case:
    """Return the case with nothing dropped, since each framework draws its own masks."""
    return replace(case, architecture=case.architecture.without_dropout())


def train_reference(
    case: Case,
    recipe: Recipe,
    batches: Sequence[Batch],
    recorded_steps: Sequence[int],
    rounding: TrainingRounding | None = None,
) -> Iterator[tuple[str, Array]]:
    """Train the reference, one step's results at a time: those of all steps together may take gigabytes.

    Args:
        case: the network and its initial weights.
        recipe: the optimiser and its settings.
        batches: images (N, C, H, W) and labels (N) for each step.
        recorded_steps: the steps, counted from 1, whose gradients and weights are returned.
        rounding: simulated rounding; by default none.

    Yields:
        The names and values of the results of `Worker.train`, and of `STEP/logits`: the logits of the case's images
        after the last step.
    """
    weights = {name: np.asarray(array, np.float64) for name, array in case.weights.items()}
    state: State = {}
    update = OPTIMISERS[recipe.optimiser]
    for step, (images, labels) in enumerate(batches):
        current = Case(case.name, case.architecture, weights, images)
        observers = rounding.observers(current, step) if rounding else {}
        trained = Backward(current, labels, **observers).run()
        updated = {
            name: update(recipe, step, weights[name], gradient, state.setdefault(name, {}))
            for name, gradient in trained.gradients.items()
        }
        weights = {**weights, **updated, **trained.statistics}
        if rounding:
            weights = rounding.perturb_weights(weights)
        results = TrainedStep(trained.loss, trained.gradients.copy, weights.copy)
        for part in results.results(step + 1, tensors=step + 1 in recorded_steps):
            yield from part.items()
    yield f"{recipe.steps}/logits", Oracle(case.architecture, weights).logits(case.images)
