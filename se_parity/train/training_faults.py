"""Known faults of training loops: backward passes, running statistics and optimisers that compute something else.

The optimisers take the arguments of `se_parity.recipe.Update`, and return the new weight as it does.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from se_parity.recipe import OPTIMISERS, Recipe, Update, adam_step
from se_parity.reference.backward import Backward, batch_statistics
from se_parity.reference.oracle import Array
from se_spec import BATCH_NORM_MOMENTUM, Node
from se_spec.layers import BatchNorm


class GateDetached(Backward):
    """No gradient flows into the SE gates."""

    def scale(self, node: Node, d: Array) -> tuple[Array, ...]:
        inputs, gates = super().scale(node, d)
        return inputs, np.zeros_like(gates)


class StatisticsDetached(Backward):
    """The batch statistics are treated as constants."""

    def norm(self, node: Node, d: Array, operation: BatchNorm) -> tuple[Array, ...]:
        super().norm(node, d, operation)
        _, variance = batch_statistics(node.layer, self.inputs[node.path])
        gain = self.weights[f"{node.layer}.weight"] / np.sqrt(variance + operation.epsilon)
        return (d * gain[:, None, None],)


class ShortcutDetached(Backward):
    """No gradient flows through identity shortcuts."""

    def add(self, node: Node, d: Array) -> tuple[Array, ...]:
        block = node.path.rpartition(".")[0]
        residual, shortcut = super().add(node, d)
        return residual, shortcut if node.inputs[1].startswith(f"{block}.") else np.zeros_like(shortcut)


class LossSummed(Backward):
    """The loss is the sum over the batch instead of the mean."""

    def loss_gradient(self, d: Array) -> Array:
        return d * len(d)


class LabelsSmoothed(Backward):
    """Label smoothing of 0.1."""

    def loss_gradient(self, d: Array) -> Array:
        classes = d.shape[1]
        smoothed = d.copy()
        smoothed[np.arange(len(d)), self.labels] += 0.1 / len(d)
        return smoothed - 0.1 / classes / len(d)


GRADIENT_FAULTS: dict[str, type[Backward]] = {
    "no gradient into the gates": GateDetached,
    "the batch's statistics taken for constants": StatisticsDetached,
    "no gradient through identity shortcuts": ShortcutDetached,
    "the loss summed over the batch": LossSummed,
    "labels smoothed by a tenth": LabelsSmoothed,
}


Statistic = Callable[[str, Array, Sequence[Array]], Array]
"""Called with "running_mean" or "running_var", its value (C) and the inputs (N, C, H, W) of the norm, of which a shared
one has several; returns the new value."""


def _moving_average(share: float, unbiased: bool = True) -> Statistic:
    """Statistics that move by `share` of the way to those of the batch."""

    def statistic(leaf: str, running: Array, inputs: Sequence[Array]) -> Array:
        for x in inputs:
            count = x.size // x.shape[1]
            mean, variance = batch_statistics("", x)
            correction = count / max(count - 1, 1) if unbiased else 1.0
            running = (1 - share) * running + share * (mean if leaf == "running_mean" else variance * correction)
        return running

    return statistic


def _fast_variance(leaf: str, running: Array, inputs: Sequence[Array]) -> Array:
    """The batch variance computed as E[x^2] - E[x]^2 in float32, as Flax's `use_fast_variance`."""
    for x in inputs:
        count = x.size // x.shape[1]
        single = x.astype(np.float32)
        mean = single.mean(axis=(0, 2, 3), dtype=np.float32)
        variance = np.maximum((single**2).mean(axis=(0, 2, 3), dtype=np.float32) - mean**2, 0)
        new = mean if leaf == "running_mean" else variance * count / max(count - 1, 1)
        running = (1 - BATCH_NORM_MOMENTUM) * running + BATCH_NORM_MOMENTUM * new.astype(np.float64)
    return running


def _first_use_only(leaf: str, running: Array, inputs: Sequence[Array]) -> Array:
    """Only the first use of a shared norm moves its statistics."""
    return _moving_average(BATCH_NORM_MOMENTUM)(leaf, running, inputs[:1])


STATISTICS_FAULTS: dict[str, Statistic] = {
    "a biased running variance": _moving_average(BATCH_NORM_MOMENTUM, unbiased=False),
    "the momentum read backwards": _moving_average(1 - BATCH_NORM_MOMENTUM),
    "the momentum read backwards and a biased variance": _moving_average(1 - BATCH_NORM_MOMENTUM, unbiased=False),
    "a momentum of 0.99": _moving_average(0.01),
    "a momentum of 0.99 and a biased variance": _moving_average(0.01, unbiased=False),
    "running statistics not updated": lambda leaf, running, inputs: running,
    "a shared norm updated at its first use only": _first_use_only,
    "the fast variance, in float32": _fast_variance,
}


def keras_momentum(recipe: Recipe, step: int, weight: Array, gradient: Array, state: dict[str, Array]) -> Array:
    """v = momentum v - rate (g + decay w); w = w + v: the learning rate is part of the velocity."""
    scaled = recipe.learning_rates[step] * (gradient + recipe.weight_decay * weight)
    state["velocity"] = recipe.momentum * state.get("velocity", np.zeros_like(weight)) - scaled
    return weight + state["velocity"]


def decoupled_sgd(recipe: Recipe, step: int, weight: Array, gradient: Array, state: dict[str, Array]) -> Array:
    """Weight decay that does not enter the gradient, as in Keras."""
    state["velocity"] = recipe.momentum * state.get("velocity", np.zeros_like(weight)) + gradient
    rate = recipe.learning_rates[step]
    return weight * (1 - rate * recipe.weight_decay) - rate * state["velocity"]


def nesterov(recipe: Recipe, step: int, weight: Array, gradient: Array, state: dict[str, Array]) -> Array:
    """Nesterov's momentum: the step is the gradient plus momentum times the new velocity."""
    decayed = gradient + recipe.weight_decay * weight
    state["velocity"] = recipe.momentum * state.get("velocity", np.zeros_like(weight)) + decayed
    return weight - recipe.learning_rates[step] * (decayed + recipe.momentum * state["velocity"])


def dampened(recipe: Recipe, step: int, weight: Array, gradient: Array, state: dict[str, Array]) -> Array:
    """From the second step on, a moving average of the gradients instead of their sum: torch's `dampening`."""
    decayed = gradient + recipe.weight_decay * weight
    before = state.get("velocity")
    state["velocity"] = decayed if before is None else recipe.momentum * before + (1 - recipe.momentum) * decayed
    return weight - recipe.learning_rates[step] * state["velocity"]


def coupled_adam(recipe: Recipe, step: int, weight: Array, gradient: Array, state: dict[str, Array]) -> Array:
    """Adam whose weight decay enters the gradient, as torch.optim.Adam has it."""
    return weight - adam_step(recipe, step, gradient + recipe.weight_decay * weight, state)


def keras_adam(recipe: Recipe, step: int, weight: Array, gradient: Array, state: dict[str, Array]) -> Array:
    """Epsilon is added to the root before its bias correction, as in Keras."""
    epsilon = recipe.epsilon / np.sqrt(1 - recipe.betas[1] ** (step + 1))
    decayed = weight * (1 - recipe.learning_rates[step] * recipe.weight_decay)
    return decayed - adam_step(replace(recipe, epsilon=epsilon), step, gradient, state)


def uncorrected_adam(recipe: Recipe, step: int, weight: Array, gradient: Array, state: dict[str, Array]) -> Array:
    """AdamW without the bias correction of the moving averages."""
    first, second = recipe.betas
    state["mean"] = first * state.get("mean", np.zeros_like(weight)) + (1 - first) * gradient
    state["square"] = second * state.get("square", np.zeros_like(weight)) + (1 - second) * gradient**2
    rate = recipe.learning_rates[step]
    decayed = weight * (1 - rate * recipe.weight_decay)
    return decayed - rate * state["mean"] / (np.sqrt(state["square"]) + recipe.epsilon)


def _with_settings(**changes: Any) -> Update:
    """The recipe's optimiser with other settings."""

    def update(recipe: Recipe, step: int, weight: Array, gradient: Array, state: dict[str, Array]) -> Array:
        return OPTIMISERS[recipe.optimiser](replace(recipe, **changes), step, weight, gradient, state)

    return update


def constant_learning_rate(recipe: Recipe, step: int, weight: Array, gradient: Array, state: dict[str, Array]) -> Array:
    """The learning rate does not follow its schedule."""
    constant = replace(recipe, learning_rates=(recipe.learning_rates[0],) * recipe.steps)
    return OPTIMISERS[recipe.optimiser](constant, step, weight, gradient, state)


OPTIMISER_FAULTS: dict[str, dict[str, Update]] = {
    "sgd": {
        "the rate inside the momentum": keras_momentum,
        "decay apart from the gradient": decoupled_sgd,
        "no weight decay": _with_settings(weight_decay=0.0),
        "no momentum": _with_settings(momentum=0.0),
        "Nesterov's momentum": nesterov,
        "a dampened momentum": dampened,
        "the learning rate not changed": constant_learning_rate,
    },
    "adamw": {
        "decay in the gradient": coupled_adam,
        "no weight decay": _with_settings(weight_decay=0.0),
        "epsilon beside the uncorrected root": keras_adam,
        "an epsilon of 1e-7": _with_settings(epsilon=1e-7),
        "no bias correction": uncorrected_adam,
        "the learning rate not changed": constant_learning_rate,
    },
}
