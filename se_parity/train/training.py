"""Training is part of parity: the same weights, batches and optimiser give the same losses, gradients, weights and
running statistics, step after step, as the oracle's own training in float64.

The float32 limit is what rounding does to the oracle's training: every operation on the way there and back, and every
weight after a step, is disturbed as float32 would disturb it (se_parity.judge.limits). A ReLU that rounding turns moves
gradients by a jump, in whichever tensors it stands behind: so what moves most of a kind at a step (at either of the
first two, which jump alike), taken three times, is the limit of all of that kind.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from se_parity.case import Case
from se_parity.judge.limits import DEVIATIONS
from se_parity.recipe import Recipe
from se_parity.reference.oracle import Array
from se_parity.run.client import Worker
from se_parity.run.runners import Batch
from se_parity.train.oracle_training import Noise, oracle_training, training_batches, without_dropout

KEPT = (1, 2, 10)
"""The steps after which gradients, weights and statistics are compared; losses are after each."""

KINDS = ("loss", "gradient", "statistics", "weight", "logits")
"""What is compared, in the order in which a step makes it; the logits are those of the trained network, evaluated."""

FLOAT64_RELATIVE = 1e-9
"""Of a tensor's largest value, after ten steps: what the project promises in float64."""

VANISHING = 1e-6
"""A tensor below this share of the largest of its kind is zero but for rounding, such as the gradient of a bias that a
norm takes away again: it is judged by what is large beside it."""

DRAWS = 4
"""Independent draws of the simulated rounding of a training run."""


@dataclass(frozen=True)
class Judged:
    """One tensor after one step: its largest difference as a share of its largest true value, and the limit of that."""

    step: int
    kind: str
    name: str
    share: float
    limit: float

    @property
    def passed(self) -> bool:
        return self.share <= self.limit


@dataclass(frozen=True, eq=False)
class Training:
    """Every comparison of one framework's training in one dtype with the oracle's, and what its worker gave."""

    framework: str
    dtype: str
    recipe: Recipe
    judged: Sequence[Judged]
    results: Mapping[str, NDArray]

    @property
    def passed(self) -> bool:
        return bool(self.judged) and all(one.passed for one in self.judged)

    @property
    def worst(self) -> Judged:
        return max(self.judged, key=lambda one: one.share / one.limit if one.limit else np.inf)

    def worst_of(self, kind: str, step: int) -> Judged | None:
        of_kind = [one for one in self.judged if (one.kind, one.step) == (kind, step)]
        return max(of_kind, key=lambda one: one.share / one.limit if one.limit else np.inf, default=None)

    @property
    def first(self) -> Judged | None:
        """The first comparison that fails: by step, and in a step by what comes first."""
        failed = [one for one in self.judged if not one.passed]
        return min(failed, key=lambda one: (one.step, KINDS.index(one.kind)), default=None)

    def to_dict(self) -> dict[str, Any]:
        named = {
            "framework": self.framework,
            "dtype": self.dtype,
            "passed": self.passed,
            "recipe": self.recipe.to_dict(),
        }
        kinds = dict.fromkeys((one.kind, one.step) for one in self.judged)
        worst = [asdict(found) for kind, step in kinds if (found := self.worst_of(kind, step))]
        return {**named, "worst": worst, "first": asdict(self.first) if self.first else None}


@dataclass(frozen=True, eq=False)
class TrainingTruth:
    """The oracle's training of a case that is `stored_as` a dtype, and the limit of each of its results."""

    case: Case
    recipe: Recipe
    batches: Sequence[Batch]
    results: Mapping[str, Array]
    scales: Mapping[str, float]
    limits: Mapping[str, float]


def training_truth(case: Case, recipe: Recipe, dtype: str, kept: Sequence[int] = KEPT) -> TrainingTruth:
    """Raises ValueError for a network without classes, which has no loss."""
    if not case.architecture.num_classes:
        raise ValueError("a network without classes has no labels to train on")
    case = without_dropout(case)
    batches = [(images.astype(dtype), labels) for images, labels in training_batches(case, recipe.steps)]
    results = oracle_training(case, recipe, batches, kept)
    scales = _scales(results)
    if dtype == "float64":
        return TrainingTruth(case, recipe, batches, results, scales, dict.fromkeys(results, FLOAT64_RELATIVE))
    moved: dict[tuple[int, str], float] = {}
    for draw in range(DRAWS):
        disturbed = oracle_training(case, recipe, batches, kept, Noise(dtype, draw))
        for name, share in _shares(disturbed, results, scales):
            step, kind, _ = _told(name)
            moved[step, kind] = max(moved.get((step, kind), 0.0), share)
    early: dict[str, float] = {}
    for (step, kind), share in moved.items():
        if step <= 2:
            early[kind] = max(early.get(kind, 0.0), share)
    limits = {
        name: DEVIATIONS * (early[kind] if step <= 2 else moved[step, kind])
        for name in results
        for step, kind, _ in [_told(name)]
    }
    return TrainingTruth(case, recipe, batches, results, scales, limits)


def check_training(worker: Worker, truth: TrainingTruth, dtype: str, kept: Sequence[int] = KEPT) -> Training:
    """Train the network in a framework as the oracle was trained, and compare all that came of it."""
    worker.load(truth.case.architecture, truth.case.weights, dtype)
    results = worker.train(truth.recipe, truth.batches, kept)
    results[f"{truth.recipe.steps}/logits"] = worker.logits(truth.case.images)
    judged = [
        Judged(step, kind, tensor, share, truth.limits[name])
        for name, share in _shares(results, truth.results, truth.scales)
        for step, kind, tensor in [_told(name)]
    ]
    return Training(worker.framework, dtype, truth.recipe, judged, results)


def _told(name: str) -> tuple[int, str, str]:
    step, _, rest = name.partition("/")
    kind, _, tensor = rest.partition("/")
    statistics = tensor.endswith(("running_mean", "running_var"))
    return int(step), "statistics" if statistics else kind, tensor


def _scales(results: Mapping[str, Array]) -> dict[str, float]:
    """The largest true value of each tensor, and of its kind where its own vanishes beside that."""
    largest = {name: float(np.abs(array).max()) for name, array in results.items()}
    kinds: dict[str, float] = {}
    for name, value in largest.items():
        kind = name.rpartition("/")[0]
        kinds[kind] = max(kinds.get(kind, 0.0), value)
    return {
        name: value if value > VANISHING * kinds[name.rpartition("/")[0]] else kinds[name.rpartition("/")[0]]
        for name, value in largest.items()
    }


def _shares(
    results: Mapping[str, NDArray], truth: Mapping[str, Array], scales: Mapping[str, float]
) -> Iterator[tuple[str, float]]:
    for name, true in truth.items():
        found = results.get(name)
        if found is None or found.shape != true.shape:
            yield name, float("inf")
            continue
        distance = np.abs(found.astype(np.float64) - true).max(initial=0.0)
        yield name, float(distance / scales[name]) if np.isfinite(distance) else float("inf")
