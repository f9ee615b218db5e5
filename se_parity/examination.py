"""Every check of one network: the matrix of runs, the diagnosis of each framework, training, and a golden file."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from se_parity.case import Case
from se_parity.diagnose.diagnosis import MAX_SHOWN, Diagnosis, diagnose
from se_parity.diagnose.explain import Explanation, fault_observer
from se_parity.diagnose.faults.operation_faults import FAULTS
from se_parity.judge.check_parity import check_parity, count_steps
from se_parity.judge.difference import Difference, compare
from se_parity.judge.golden import GoldenComparison, compare_with_golden, expect_same_cases, read_golden
from se_parity.judge.matrix import DTYPES, Report
from se_parity.recipe import Recipe
from se_parity.reference.oracle import Oracle
from se_parity.run.client import FRAMEWORKS, Worker
from se_parity.train.check_training import Training, check_training, expected_training
from se_parity.train.explain_training import explain_training

RECIPES = (Recipe(), Recipe("adamw", learning_rates=(1e-4, 3e-5) * 5, weight_decay=1e-2))
"""Ten steps each, at learning rates of fine-tuning. They change between steps, since the frameworks' formulas for
momentum differ only then."""

TRAINING_DTYPES = ("float64", "float32")


@dataclass(frozen=True)
class ExaminationOptions:
    """The checks in addition to the matrix of runs.

    Attributes:
        localise: whether to compare every layer with the reference.
        explain: whether to look for the known fault that explains a failure.
        recipes: one training check for each.
        golden: a golden file to compare the runs with.
    """

    localise: bool = False
    explain: bool = False
    recipes: Sequence[Recipe] = ()
    golden: Path | None = None


@dataclass(frozen=True, eq=False)
class Examination:
    """The result of `examine`.

    Attributes:
        case: the first case, on which all checks but the matrix run.
        report: the matrix of runs.
        tf32: the difference that TF32 would cause, simulated in the reference.
        diagnoses: one for each framework.
        trainings: one for each recipe, dtype and framework, with explanations of its failure.
        golden_comparison: the runs compared with a golden file.
    """

    case: Case
    report: Report
    tf32: Difference
    diagnoses: Sequence[Diagnosis] = ()
    trainings: Sequence[tuple[Training, Sequence[Explanation]]] = ()
    golden_comparison: GoldenComparison | None = None

    @property
    def passed(self) -> bool:
        return (
            self.report.passed
            and not any(diagnosis.failing for diagnosis in self.diagnoses)
            and all(training.passed for training, _ in self.trainings)
            and (not self.golden_comparison or self.golden_comparison.passed)
        )

    def to_dict(self) -> dict[str, Any]:
        trainings = [
            training.to_dict() | {"explanations": [each.to_dict() for each in explanations[:MAX_SHOWN]]}
            for training, explanations in self.trainings
        ]
        return {
            **self.report.to_dict(),
            "tf32": self.tf32.to_dict(),
            "diagnoses": [diagnosis.to_dict() for diagnosis in self.diagnoses],
            "trainings": trainings,
            **({"against": self.golden_comparison.to_dict()} if self.golden_comparison else {}),
            "says": self.sentences,
            "passed": self.passed,
        }

    @property
    def sentences(self) -> list[str]:
        """The findings in words."""
        sentences = [
            f"{worker.name} rounds the operands of its products, as TF32 and bfloat16 do: a convolution that is "
            f"{worker.probe.convolution_expected:.2f} in float32 gave {worker.probe.convolution:.2f}"
            for worker in self.report.workers
            if not worker.probe.full_precision
        ]
        if any(
            run.dtype == "float32" and self.tf32.share / 10 < run.difference.share < 10 * self.tf32.share
            for run in self.report.runs
            if not run.passed
        ):
            sentences.append(f"float32 differs about as much as TF32 would: by {self.tf32.share:.1e} of the range")
        for diagnosis in self.diagnoses:
            sentences += diagnosis.sentences
        for framework in dict.fromkeys(training.framework for training, _ in self.trainings):
            sentences += _describe_trainings([pair for pair in self.trainings if pair[0].framework == framework])
        return sentences


def examine(
    cases: Sequence[Case],
    options: ExaminationOptions = ExaminationOptions(),
    *,
    frameworks: Sequence[str] = FRAMEWORKS,
    modes: Sequence[str] = (),
    dtypes: Sequence[str] = DTYPES,
    device: str = "cpu",
    pythons: Mapping[str, str] | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> Examination:
    """Run `check_parity` on all cases, and the checks of the options on the first case.

    Args:
        cases: all of one architecture.
        options: the checks in addition to the matrix of runs.
        frameworks: of "torch", "tf" and "flax".
        modes: names of modes (se_parity.run.modes); none means all.
        dtypes: of the matrix: "float64", "float32" and "bfloat16".
        device: "cpu" or "gpu".
        pythons: the interpreter of a framework ("torch") or of one of its modes ("torch.xla"); by default this one.
        on_step: called with a description before each step; `count_examined` returns how often.

    Returns:
        An examination, whose `passed` is the verdict.

    Raises:
        WorkerFailed: a framework cannot run.
        MalformedFile: the golden file is malformed, or of other weights or images; checked before anything runs.
        ValueError: training a network without classes.
    """
    golden = read_golden(options.golden) if options.golden else None
    if golden:
        expect_same_cases(golden, cases)
    report = check_parity(
        cases, frameworks=frameworks, modes=modes, dtypes=dtypes, device=device, pythons=pythons, on_step=on_step
    )
    golden_comparison = compare_with_golden(golden, report) if golden else None
    case = cases[0]
    workers = {
        framework: partial(Worker, framework, python=(pythons or {}).get(framework, sys.executable), device=device)
        for framework in frameworks
    }
    diagnoses: list[Diagnosis] = []
    for framework in frameworks if options.localise else ():
        on_step(f"comparing every layer in {framework}")
        with workers[framework]() as worker:
            diagnoses.append(diagnose(worker, case, explained=options.explain))
    trainings: list[tuple[Training, Sequence[Explanation]]] = []
    for recipe, dtype in product(options.recipes, TRAINING_DTYPES):
        on_step(f"training the float64 reference, {recipe.optimiser}, {dtype}")
        trainings += _examine_trainings(case.astype(dtype), recipe, dtype, workers, options.explain, on_step)
    return Examination(case, report, simulated_tf32(case), diagnoses, trainings, golden_comparison)


def _examine_trainings(
    case: Case,
    recipe: Recipe,
    dtype: str,
    workers: Mapping[str, Callable[[], Worker]],
    explained: bool,
    on_step: Callable[[str], None],
) -> Iterator[tuple[Training, Sequence[Explanation]]]:
    """Train the reference and then every framework; the case has been rounded to the dtype."""
    expected = expected_training(case, recipe, dtype)
    for framework, start in workers.items():
        on_step(f"training in {framework}, {recipe.optimiser}, {dtype}")
        with start() as worker:
            training = check_training(worker, expected, dtype)
            explanations = explain_training(expected, training) if explained else ()
        yield replace(training, results={}), explanations  # the results end with the worker


def count_examined(
    cases: int, options: ExaminationOptions, frameworks: Sequence[str], modes: Sequence[str], dtypes: Sequence[str]
) -> int:
    """How many times `examine` calls `on_step`.

    Args:
        cases: the number of cases.
        options: as `examine` takes them, like `frameworks`, `modes` and `dtypes`.
        frameworks: names of frameworks.
        modes: names of modes; all of them if empty.
        dtypes: names of dtypes.
    """
    trainings = len(options.recipes) * len(TRAINING_DTYPES) * (1 + len(frameworks))
    return count_steps(cases, frameworks, modes, dtypes) + int(options.localise) * len(frameworks) + trainings


def simulated_tf32(case: Case) -> Difference:
    """The difference that TF32 would cause: the reference with every operand rounded to 10 bits, against itself."""
    fault = next(fault for fault in FAULTS if fault.name == "TF32")
    expected = Oracle(case.architecture, case.weights).logits(case.images)
    rounded = Oracle(case.architecture, case.weights, observe=fault_observer(case, fault)).logits(case.images)
    return compare(expected, rounded)


def _describe_trainings(trainings: Sequence[tuple[Training, Sequence[Explanation]]]) -> list[str]:
    """For one framework: a sentence for every failure, or one sentence if all passed."""
    sentences = []
    for training, explanations in trainings:
        failure = training.first_failure
        if failure:
            sentences.append(
                f"{training.framework} in {training.dtype}, {training.recipe.steps} steps of "
                f"{training.recipe.optimiser}: {failure.kind} {failure.name} of step {failure.step} differs from the "
                f"float64 reference by {failure.share:.1e} of its largest value; limit {failure.limit:.1e}"
            )
            sentences += [f"{each.verdict}, within {each.error:.1e}" for each in explanations[:1]]
    if sentences:
        return sentences
    optimisers = " and ".join(dict.fromkeys(training.recipe.optimiser for training, _ in trainings))
    dtypes = " and ".join(dict.fromkeys(training.dtype for training, _ in trainings))
    framework, steps = trainings[0][0].framework, trainings[0][0].recipe.steps
    return [
        f"{framework}: every loss, gradient, weight and statistic is within its limit in {steps} steps of "
        f"{optimisers}, in {dtypes}"
    ]
