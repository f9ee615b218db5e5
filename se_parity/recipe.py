"""How a network is trained: the settings of a training run, and PyTorch's optimisers in plain numpy.

PyTorch's formulas are the reference, since published SE-ResNets were trained with them (torch/optim/sgd.py, adamw.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from se_parity.reference.oracle import Array

State = dict[str, dict[str, Array]]


@dataclass(frozen=True)
class Recipe:
    """An optimiser and its settings; the defaults are PyTorch's.

    Attributes:
        optimiser: a key of OPTIMISERS: "sgd" or "adamw".
        learning_rates: one for each step.
        momentum: of SGD.
        weight_decay: added to the gradient by SGD, applied to the weight by AdamW.
        betas: the decay rates of AdamW's moving averages.
        epsilon: of AdamW.
    """

    optimiser: str = "sgd"
    learning_rates: tuple[float, ...] = (0.002, 0.005, 0.005, 0.005, 0.002, 0.002, 0.002, 0.001, 0.001, 0.001)
    momentum: float = 0.9
    weight_decay: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    @property
    def steps(self) -> int:
        return len(self.learning_rates)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """The recipe whose `to_dict` was stored as JSON."""
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
        }
        return cls(**fields)


Update = Callable[[Recipe, int, Array, Array, dict[str, Array]], Array]
"""Called with a recipe, the step counted from 0, a weight, its gradient and the optimiser's state for it, which it
updates in place; returns the new weight."""


def sgd(recipe: Recipe, step: int, weight: Array, gradient: Array, state: dict[str, Array]) -> Array:
    """v = momentum v + (g + decay w); w = w - rate v.

    Args:
        recipe: the momentum, the weight decay and the learning rates.
        step: counted from 0.
        weight: before the step.
        gradient: of the weight.
        state: the velocity, which is updated in place; empty at the first step.

    Returns:
        The new weight.
    """
    velocity = recipe.momentum * state.get("velocity", 0.0) + gradient + recipe.weight_decay * weight
    state["velocity"] = np.asarray(velocity)
    return weight - recipe.learning_rates[step] * velocity


def adam_step(recipe: Recipe, step: int, gradient: Array, state: dict[str, Array]) -> Array:
    """The bias-corrected mean of the gradients over the root of that of their squares; epsilon is added to the root.

    Args:
        recipe: betas, epsilon and the learning rates.
        step: counted from 0.
        gradient: of the weight.
        state: the moving averages, which are updated in place; empty at the first step.

    Returns:
        What to subtract from the weight.
    """
    first, second = recipe.betas
    state["mean"] = first * state.get("mean", 0.0) + (1 - first) * gradient
    state["square"] = second * state.get("square", 0.0) + (1 - second) * gradient**2
    mean, square = state["mean"] / (1 - first ** (step + 1)), state["square"] / (1 - second ** (step + 1))
    return recipe.learning_rates[step] * mean / (np.sqrt(square) + recipe.epsilon)


def adamw(recipe: Recipe, step: int, weight: Array, gradient: Array, state: dict[str, Array]) -> Array:
    """Adam with weight decay that does not enter the gradient (arXiv 1711.05101).

    Args:
        recipe: betas, epsilon, the weight decay and the learning rates.
        step: counted from 0.
        weight: before the step.
        gradient: of the weight.
        state: the moving averages, which are updated in place; empty at the first step.

    Returns:
        The new weight.
    """
    decayed = weight * (1 - recipe.learning_rates[step] * recipe.weight_decay)
    return decayed - adam_step(recipe, step, gradient, state)


OPTIMISERS: dict[str, Update] = {"sgd": sgd, "adamw": adamw}
