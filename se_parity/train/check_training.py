"""Compare training in a framework with the float64 reference's own training.

With the same weights, batches and optimiser, both must give the same losses, gradients, weights and running statistics,
step after step.

The float32 limit comes from training the reference with simulated rounding (se_parity.judge.limits). A ReLU whose input
rounding moves across zero changes gradients abruptly, in whichever tensors depend on it. So all tensors of a kind share
a limit at each step: DEVIATIONS times the largest change of any of them. The first two steps, where such changes are
equally large, share one limit. Where that limit exceeds LARGEST_SENSITIVE_LIMIT, a fault of 1 % would
pass: the float64 run is then the test, and the report says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from se_parity.case import Case
from se_parity.judge.limits import DEVIATIONS, DRAWS
from se_parity.recipe import Recipe
from se_parity.reference.oracle import Array
from se_parity.run.client import Worker
from se_parity.run.runners import Batch
from se_parity.train.reference_training import TrainingRounding, train_reference, training_batches, without_dropout

RECORDED_STEPS = (1, 2, 10)
"""The steps after which gradients, weights and statistics are compared; losses are compared after every step."""

RESULT_KINDS = ("loss", "gradient", "statistics", "weight", "logits")
"""What is compared, in the order in which a step computes it; the logits are those of the trained network."""

FLOAT64_RELATIVE = 1e-9
"""The limit in float64, as a share of a tensor's largest value, after ten steps."""

LARGEST_SENSITIVE_LIMIT = 5e-3
"""A limit below this share detects an error of 1 %, with a margin for rounding."""

VANISHING = 1e-6
"""A tensor below this share of the largest value of its kind is zero but for rounding, such as the gradient of a bias
before a batch norm. Its difference is measured as a share of that largest value."""


@dataclass(frozen=True)
class TensorComparison:
    """A tensor after a training step, compared with the reference.

    Attributes:
        step: counted from 1.
        kind: one of RESULT_KINDS.
        name: its canonical name; empty for a loss or logits.
        share: the largest difference as a share of the largest expected value.
        limit: of `share`.
    """

    step: int
    kind: str
    name: str
    share: float
    limit: float

    @property
    def passed(self) -> bool:
        return self.share <= self.limit

    @property
    def sensitive(self) -> bool:
        """Whether an error of 1 % would exceed the limit."""
        return self.limit <= LARGEST_SENSITIVE_LIMIT

    @property
    def times_limit(self) -> float:
        return self.share / self.limit if self.limit else np.inf


@dataclass(frozen=True, eq=False)
class Training:
    """Training in one framework and dtype, compared with the reference.

    Attributes:
        framework: "torch", "tf" or "flax".
        dtype: of the model.
        recipe: the optimiser and its settings.
        comparisons: one for each result.
        results: of `Worker.train`, which can be read until the worker is closed.
    """

    framework: str
    dtype: str
    recipe: Recipe
    comparisons: Sequence[TensorComparison]
    results: Mapping[str, NDArray]

    @property
    def passed(self) -> bool:
        return bool(self.comparisons) and all(comparison.passed for comparison in self.comparisons)

    def worst_of(self, kind: str, step: int) -> TensorComparison | None:
        """The comparison nearest to its limit, or furthest beyond it, of one kind and step.

        Args:
            kind: one of RESULT_KINDS.
            step: counted from 1.

        Returns:
            The comparison; None where there is none of this kind and step.
        """
        of_kind = [comparison for comparison in self.comparisons if (comparison.kind, comparison.step) == (kind, step)]
        return max(of_kind, key=lambda comparison: comparison.times_limit, default=None)

    @property
    def first_failure(self) -> TensorComparison | None:
        """The first comparison that fails, in the order of the steps and of RESULT_KINDS."""
        failed = [comparison for comparison in self.comparisons if not comparison.passed]
        return min(failed, key=lambda each: (each.step, RESULT_KINDS.index(each.kind)), default=None)

    def to_dict(self) -> dict[str, Any]:
        kinds = dict.fromkeys((comparison.kind, comparison.step) for comparison in self.comparisons)
        return {
            "framework": self.framework,
            "dtype": self.dtype,
            "passed": self.passed,
            "recipe": self.recipe.to_dict(),
            "worst": [
                {**asdict(worst), "sensitive": worst.sensitive}
                for kind, step in kinds
                if (worst := self.worst_of(kind, step))
            ],
            "first": asdict(self.first_failure) if self.first_failure else None,
        }


@dataclass(frozen=True, eq=False)
class ExpectedTraining:
    """The reference's training of a case, and the limit of each result in one dtype.

    Attributes:
        case: rounded to the dtype, without dropout.
        recipe: the optimiser and its settings.
        batches: images (N, C, H, W) and labels (N) for each step.
        results: of `train_reference`, by `STEP/KIND/NAME`.
        scales: the value of which each result's difference is a share.
        limits: of that share.
    """

    case: Case
    recipe: Recipe
    batches: Sequence[Batch]
    results: Mapping[str, Array]
    scales: Mapping[str, float]
    limits: Mapping[str, float]


def expected_training(
    case: Case, recipe: Recipe, dtype: str, recorded_steps: Sequence[int] = RECORDED_STEPS
) -> ExpectedTraining:
    """Train the reference, and derive the limits by training it with simulated rounding.

    Args:
        case: rounded to the dtype (`Case.astype`).
        recipe: the optimiser and its settings.
        dtype: of the frameworks' models.
        recorded_steps: the steps, counted from 1, whose gradients and weights are compared.

    Raises:
        ValueError: the network has no classes, and so no loss.
    """
    if not case.architecture.num_classes:
        raise ValueError("a network without classes has no labels to train on")
    case = without_dropout(case)
    batches = [(images.astype(dtype), labels) for images, labels in training_batches(case, recipe.steps)]
    results = dict(train_reference(case, recipe, batches, recorded_steps))
    scales = _scales(results)
    if dtype == "float64":
        return ExpectedTraining(case, recipe, batches, results, scales, dict.fromkeys(results, FLOAT64_RELATIVE))
    largest: dict[tuple[int, str], float] = {}
    for draw in range(DRAWS):
        for name, array in train_reference(case, recipe, batches, recorded_steps, TrainingRounding(dtype, draw)):
            key = _limit_key(name)
            largest[key] = max(largest.get(key, 0.0), _difference(array, results[name], scales[name]))
    limits = {name: DEVIATIONS * largest[_limit_key(name)] for name in results}
    return ExpectedTraining(case, recipe, batches, results, scales, limits)


def check_training(
    worker: Worker, expected: ExpectedTraining, dtype: str, recorded_steps: Sequence[int] = RECORDED_STEPS
) -> Training:
    """Train a network in a framework as the reference was trained, and compare all results.

    Args:
        worker: a running worker; the case is loaded into it.
        expected: of `expected_training` with the same dtype and recorded steps.
        dtype: of the model.
        recorded_steps: the steps, counted from 1, whose gradients and weights are compared.
    """
    worker.load(expected.case.architecture, expected.case.weights, dtype)
    results = worker.train(expected.recipe, expected.batches, recorded_steps)
    logits = worker.logits(expected.case.images)
    comparisons = []
    for name, array in expected.results.items():
        share = _difference(logits if name.endswith("/logits") else results.get(name), array, expected.scales[name])
        comparisons.append(TensorComparison(*_split_name(name), share, expected.limits[name]))
    return Training(worker.framework, dtype, expected.recipe, comparisons, results)


def _split_name(name: str) -> tuple[int, str, str]:
    """The step, the kind and the canonical name of a result."""
    step, _, rest = name.partition("/")
    kind, _, tensor = rest.partition("/")
    statistics = tensor.endswith(("running_mean", "running_var"))
    return int(step), "statistics" if statistics else kind, tensor


def _limit_key(name: str) -> tuple[int, str]:
    """Results with the same key share a limit: those of one kind at one step, or at the first two."""
    step, kind, _ = _split_name(name)
    return max(step, 2), kind


def _scales(results: Mapping[str, Array]) -> dict[str, float]:
    """The largest value of each tensor; that of its kind where its own is below VANISHING of it."""
    largest = {name: float(np.abs(array).max()) for name, array in results.items()}
    of_kind: dict[str, float] = {}
    for name, value in largest.items():
        kind = name.rpartition("/")[0]
        of_kind[kind] = max(of_kind.get(kind, 0.0), value)
    return {
        name: value if value > VANISHING * of_kind[name.rpartition("/")[0]] else of_kind[name.rpartition("/")[0]]
        for name, value in largest.items()
    }


def _difference(result: NDArray | None, expected: Array, scale: float) -> float:
    """The largest difference of a result as a share of its scale; infinite where it is missing or not finite."""
    if result is None or result.shape != expected.shape:
        return np.inf
    distance = np.abs(result.astype(np.float64) - expected).max(initial=0.0)
    return float(distance / scale) if np.isfinite(distance) else np.inf
