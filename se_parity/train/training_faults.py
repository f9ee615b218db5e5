"""The faults that training loops are known to have, each as what it would have come to: gradients, running statistics
or weights."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from se_parity.recipe import OPTIMISERS, Recipe, Update, adam_step
from se_parity.reference.backward import Backward, batch_statistics
from se_parity.reference.oracle import Array
from se_spec import BATCH_NORM_MOMENTUM, Block


class GateDetached(Backward):
    """No gradient flows into the gates."""

    def squeeze_excitation(self, path: str, d: Array) -> Array:
        super().squeeze_excitation(path, np.zeros_like(d))  # which leaves the gate's own gradients at zero
        return d * self.outputs[f"{path}.gate"][:, :, None, None]


class StatisticsDetached(Backward):
    """The statistics of the batch are taken for constants."""

    def norm(self, path: str, d: Array) -> Array:
        given = super().norm(path, d)
        if self.architecture.folded:
            return given
        _, variance = batch_statistics(path, self.inputs[path])
        gain = self.weights[f"{path}.weight"] / np.sqrt(variance + self.architecture.bn_epsilon)
        return d * gain[:, None, None]


class ShortcutDetached(Backward):
    """No gradient flows through the shortcuts that are the identity."""

    def block(self, block: Block, d: Array) -> Array:
        both = super().block(block, d)
        return both if block.projection else both - self.relu(block.name, d)


class Summed(Backward):
    """The loss is the sum over the batch."""

    def scaled(self, d: Array) -> Array:
        return d * len(d)


class Smoothed(Backward):
    """The labels are smoothed by a tenth."""

    def scaled(self, d: Array) -> Array:
        classes = d.shape[1]
        smoothed = d.copy()
        smoothed[np.arange(len(d)), self.labels] += 0.1 / len(d)
        return smoothed - 0.1 / classes / len(d)


GRADIENT_FAULTS: dict[str, type[Backward]] = {
    "no gradient into the gates": GateDetached,
    "the batch's statistics taken for constants": StatisticsDetached,
    "no gradient through identity shortcuts": ShortcutDetached,
    "the loss summed over the batch": Summed,
    "labels smoothed by a tenth": Smoothed,
}


Statistic = Callable[[str, Array, Array], Array]
"""The last word of a statistic's name, its value, and the norm's input (N, C, H, W), to its new value."""


def _averaged(share: float, unbiased: bool = True) -> Statistic:
    def statistic(word: str, running: Array, x: Array) -> Array:
        count = x.size // x.shape[1]
        mean, variance = batch_statistics("", x)
        correction = count / max(count - 1, 1) if unbiased else 1.0
        return (1 - share) * running + share * (mean if word == "running_mean" else variance * correction)

    return statistic


def _fast(word: str, running: Array, x: Array) -> Array:
    """The mean of squares less the square of the mean, in float32."""
    count = x.size // x.shape[1]
    single = x.astype(np.float32)
    mean = single.mean(axis=(0, 2, 3), dtype=np.float32)
    variance = np.maximum((single**2).mean(axis=(0, 2, 3), dtype=np.float32) - mean**2, 0) * count / max(count - 1, 1)
    new = mean if word == "running_mean" else variance
    return (1 - BATCH_NORM_MOMENTUM) * running + BATCH_NORM_MOMENTUM * new.astype(np.float64)


STATISTICS_FAULTS: dict[str, Statistic] = {
    "a biased running variance": _averaged(BATCH_NORM_MOMENTUM, unbiased=False),
    "the momentum read backwards": _averaged(1 - BATCH_NORM_MOMENTUM),
    "the momentum read backwards and a biased variance": _averaged(1 - BATCH_NORM_MOMENTUM, unbiased=False),
    "a momentum of 0.99": _averaged(0.01),
    "a momentum of 0.99 and a biased variance": _averaged(0.01, unbiased=False),
    "running statistics not updated": lambda word, running, x: running,
    "the fast variance, in float32": _fast,
}


def keras_momentum(recipe: Recipe, step: int, weight: Array, gradient: Array, state: dict[str, Array]) -> Array:
    """The rate inside the momentum."""
    pulled = recipe.learning_rates[step] * (gradient + recipe.weight_decay * weight)
    state["velocity"] = recipe.momentum * state.get("velocity", np.zeros_like(weight)) - pulled
    return weight + state["velocity"]


def decoupled_sgd(recipe: Recipe, step: int, weight: Array, gradient: Array, state: dict[str, Array]) -> Array:
    """Decay apart from the gradient, as Keras has it."""
    state["velocity"] = recipe.momentum * state.get("velocity", np.zeros_like(weight)) + gradient
    rate = recipe.learning_rates[step]
    return weight * (1 - rate * recipe.weight_decay) - rate * state["velocity"]


def nesterov(recipe: Recipe, step: int, weight: Array, gradient: Array, state: dict[str, Array]) -> Array:
    pulled = gradient + recipe.weight_decay * weight
    state["velocity"] = recipe.momentum * state.get("velocity", np.zeros_like(weight)) + pulled
    return weight - recipe.learning_rates[step] * (pulled + recipe.momentum * state["velocity"])


def dampened(recipe: Recipe, step: int, weight: Array, gradient: Array, state: dict[str, Array]) -> Array:
    """A moving average of the gradients for their sum, from the second step on, as torch's `dampening` has it."""
    pulled = gradient + recipe.weight_decay * weight
    before = state.get("velocity")
    state["velocity"] = pulled if before is None else recipe.momentum * before + (1 - recipe.momentum) * pulled
    return weight - recipe.learning_rates[step] * state["velocity"]


def coupled_adam(recipe: Recipe, step: int, weight: Array, gradient: Array, state: dict[str, Array]) -> Array:
    return weight - adam_step(recipe, step, gradient + recipe.weight_decay * weight, state)


def keras_adam(recipe: Recipe, step: int, weight: Array, gradient: Array, state: dict[str, Array]) -> Array:
    """Epsilon beside the root before its correction, as Keras has it."""
    hat = recipe.epsilon / np.sqrt(1 - recipe.betas[1] ** (step + 1))
    decayed = weight * (1 - recipe.learning_rates[step] * recipe.weight_decay)
    return decayed - adam_step(replace(recipe, epsilon=hat), step, gradient, state)


def uncorrected_adam(recipe: Recipe, step: int, weight: Array, gradient: Array, state: dict[str, Array]) -> Array:
    first, second = recipe.betas
    state["mean"] = first * state.get("mean", np.zeros_like(weight)) + (1 - first) * gradient
    state["square"] = second * state.get("square", np.zeros_like(weight)) + (1 - second) * gradient**2
    rate = recipe.learning_rates[step]
    decayed = weight * (1 - rate * recipe.weight_decay)
    return decayed - rate * state["mean"] / (np.sqrt(state["square"]) + recipe.epsilon)


def _with(**changes: Any) -> Update:
    """The recipe's own optimiser with other numbers."""

    def update(recipe: Recipe, step: int, weight: Array, gradient: Array, state: dict[str, Array]) -> Array:
        return OPTIMISERS[recipe.optimiser](replace(recipe, **changes), step, weight, gradient, state)

    return update


def first_rate_kept(recipe: Recipe, step: int, weight: Array, gradient: Array, state: dict[str, Array]) -> Array:
    """The learning rate does not follow its schedule."""
    kept = replace(recipe, learning_rates=(recipe.learning_rates[0],) * recipe.steps)
    return OPTIMISERS[recipe.optimiser](kept, step, weight, gradient, state)


OPTIMISER_FAULTS: dict[str, dict[str, Update]] = {
    "sgd": {
        "the rate inside the momentum": keras_momentum,
        "decay apart from the gradient": decoupled_sgd,
        "no weight decay": _with(weight_decay=0.0),
        "no momentum": _with(momentum=0.0),
        "Nesterov's momentum": nesterov,
        "a dampened momentum": dampened,
        "the learning rate not changed": first_rate_kept,
    },
    "adamw": {
        "decay in the gradient": coupled_adam,
        "no weight decay": _with(weight_decay=0.0),
        "epsilon beside the uncorrected root": keras_adam,
        "an epsilon of 1e-7": _with(epsilon=1e-7),
        "no bias correction": uncorrected_adam,
        "the learning rate not changed": first_rate_kept,
    },
}
