"""How a network is trained: torch's optimisers in plain numpy, and what a training run is made of.

torch's forms are the reference, since published SE-ResNets were trained with them (torch/optim/sgd.py, adamw.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from se_parity.reference.oracle import Array

State = dict[str, dict[str, Array]]


@dataclass(frozen=True)
class Recipe:
    """`optimiser` is one of OPTIMISERS; `learning_rates` has one for each step; the rest is torch's own."""

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
    def from_dict(cls, facts: Mapping[str, Any]) -> Self:
        known: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()
        }
        return cls(**known)


def results_of(
    step: int, loss: float, gradients: Mapping[str, NDArray], weights: Mapping[str, NDArray], *, kept: bool
) -> dict[str, NDArray]:
    """What a step, counted from 1, came to, by the names under which it is compared; unless kept, its loss alone."""
    results = {f"{step}/loss": np.array(loss)}
    if kept:
        results |= {f"{step}/gradient/{name}": array for name, array in gradients.items()}
        results |= {f"{step}/weight/{name}": array for name, array in weights.items()}
    return results


Update = Callable[[Recipe, int, Array, Array, dict[str, Array]], Array]
"""A recipe, the number of the step from 0, a weight, its gradient and its state, to the new weight."""


def sgd(recipe: Recipe, step: int, weight: Array, gradient: Array, state: dict[str, Array]) -> Array:
    """v = momentum v + (g + decay w); w = w - rate v."""
    velocity = recipe.momentum * state.get("velocity", 0.0) + gradient + recipe.weight_decay * weight
    state["velocity"] = np.asarray(velocity)
    return weight - recipe.learning_rates[step] * velocity


def adam_step(recipe: Recipe, step: int, gradient: Array, state: dict[str, Array]) -> Array:
    """The bias-corrected mean of the gradient over the root of that of its square, epsilon outside the root."""
    first, second = recipe.betas
    state["mean"] = first * state.get("mean", 0.0) + (1 - first) * gradient
    state["square"] = second * state.get("square", 0.0) + (1 - second) * gradient**2
    mean, square = state["mean"] / (1 - first ** (step + 1)), state["square"] / (1 - second ** (step + 1))
    return recipe.learning_rates[step] * mean / (np.sqrt(square) + recipe.epsilon)


def adamw(recipe: Recipe, step: int, weight: Array, gradient: Array, state: dict[str, Array]) -> Array:
    """Decay is apart from the gradient (arXiv 1711.05101)."""
    decayed = weight * (1 - recipe.learning_rates[step] * recipe.weight_decay)
    return decayed - adam_step(recipe, step, gradient, state)


OPTIMISERS: dict[str, Update] = {"sgd": sgd, "adamw": adamw}
