"""Everything that can be asked of one network at once: the matrix of runs, where each framework leaves the truth and
why, whether it trains alike, and what moved since a golden was written."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from se_parity.case import Case
from se_parity.diagnose.diagnosis import SHOWN, Diagnosis, diagnose
from se_parity.diagnose.explain import Explanation, planting
from se_parity.diagnose.faults.operation_faults import FAULTS
from se_parity.judge.difference import Difference, compare
from se_parity.judge.golden import Comparison, against, read_golden
from se_parity.judge.matrix import DTYPES, Report, check_parity, count_steps
from se_parity.recipe import Recipe
from se_parity.reference.oracle import Oracle
from se_parity.run.client import FRAMEWORKS, Worker
from se_parity.train.explain_training import explain_training
from se_parity.train.training import Training, check_training, training_truth

RECIPES = (Recipe(), Recipe("adamw", learning_rates=(1e-4, 3e-5) * 5, weight_decay=1e-2))
"""Ten steps each, at the rates of fine-tuning, which change between steps: the forms of momentum differ only then."""

TRAINING_DTYPES = ("float64", "float32")


@dataclass(frozen=True)
class ExaminationOptions:
    """What is to be looked at beside the matrix of runs."""

    localise: bool = False
    explain: bool = False
    recipes: Sequence[Recipe] = ()
    against: Path | None = None


@dataclass(frozen=True, eq=False)
class Examination:
    """The first case, the matrix, and what else was asked. `tf32` is how far off the oracle is with TF32's operands."""

    case: Case
    report: Report
    tf32: Difference
    diagnoses: Sequence[Diagnosis] = ()
    trainings: Sequence[tuple[Training, Sequence[Explanation]]] = ()
    comparison: Comparison | None = None

    @property
    def passed(self) -> bool:
        healthy = not any(diagnosis.failing for diagnosis in self.diagnoses)
        trained = all(training.passed for training, _ in self.trainings)
        return self.report.passed and healthy and trained and (not self.comparison or self.comparison.passed)

    def to_dict(self) -> dict[str, Any]:
        trainings = [
            training.to_dict() | {"explanations": [one.to_dict() for one in explanations[:SHOWN]]}
            for training, explanations in self.trainings
        ]
        beside = {
            "tf32": self.tf32.to_dict(),
            "diagnoses": [one.to_dict() for one in self.diagnoses],
            "trainings": trainings,
        }
        moved = {"against": self.comparison.to_dict()} if self.comparison else {}
        return {**self.report.to_dict(), **beside, **moved, "says": self.sentences, "passed": self.passed}

    @property
    def sentences(self) -> list[str]:
        """The verdict, and what a person should know of it."""
        told = [
            sentence
            for worker in self.report.workers
            if not worker.probe.full_precision
            for sentence in [
                f"{worker.name} rounds the operands of its products, as TF32 and bfloat16 do: a sum that is "
                f"{worker.probe.convolution_expected:.2f} in float32 came out as {worker.probe.convolution:.2f}"
            ]
        ]
        failed = [run for run in self.report.runs if not run.passed]
        if any(
            run.dtype == "float32" and self.tf32.share / 10 < run.difference.share < 10 * self.tf32.share
            for run in failed
        ):
            told.append(f"what failed in float32 is as far off as TF32 would be: {self.tf32.share:.1e} of the range")
        for diagnosis in self.diagnoses:
            told += diagnosis.sentences
        for framework in dict.fromkeys(training.framework for training, _ in self.trainings):
            told += _trained([pair for pair in self.trainings if pair[0].framework == framework])
        return told


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
    """`check_parity`, and then what else is asked, of the first case. A golden that is none is refused first of all."""
    golden = read_golden(options.against) if options.against else None
    report = check_parity(
        cases, frameworks=frameworks, modes=modes, dtypes=dtypes, device=device, pythons=pythons, on_step=on_step
    )
    comparison = against(golden, report) if golden else None
    case = cases[0]
    workers = {
        framework: partial(Worker, framework, python=(pythons or {}).get(framework, sys.executable), device=device)
        for framework in frameworks
    }
    diagnoses: list[Diagnosis] = []
    for framework in frameworks if options.localise else ():
        on_step(f"looking at every part in {framework}")
        with workers[framework]() as worker:
            diagnoses.append(diagnose(worker, case, explained=options.explain))
    trainings: list[tuple[Training, Sequence[Explanation]]] = []
    for recipe, dtype in product(options.recipes, TRAINING_DTYPES):
        truth = training_truth(case.stored_as(dtype), recipe, dtype)
        for framework in frameworks:
            on_step(f"training in {framework}, {recipe.optimiser}, {dtype}")
            with workers[framework]() as worker:
                training = check_training(worker, truth, dtype)
            explanations = explain_training(truth, training) if options.explain else ()
            trainings.append((replace(training, results={}), explanations))  # they are gigabytes, and told by now
    return Examination(case, report, simulated_tf32(case), diagnoses, trainings, comparison)


def count_examined(
    cases: int, options: ExaminationOptions, frameworks: Sequence[str], modes: Sequence[str], dtypes: Sequence[str]
) -> int:
    """How many times `examine` calls `on_step`."""
    each = int(options.localise) + len(options.recipes) * len(TRAINING_DTYPES)
    return count_steps(cases, frameworks, modes, dtypes) + len(frameworks) * each


def simulated_tf32(case: Case) -> Difference:
    """What a user would see if TF32 stayed on: the oracle with every operand rounded to 10 bits, beside itself."""
    fault = next(fault for fault in FAULTS if fault.name == "TF32")
    truth = Oracle(case.architecture, case.weights).logits(case.images)
    rounded = Oracle(case.architecture, case.weights, observe=planting(case, fault)).logits(case.images)
    return compare(truth, rounded)


def _trained(trainings: Sequence[tuple[Training, Sequence[Explanation]]]) -> list[str]:
    """Of one framework: what failed, or in one sentence that nothing did."""
    told = []
    for training, explanations in trainings:
        first = training.first
        if not first:
            continue
        told.append(
            f"{training.framework} in {training.dtype}, {training.recipe.steps} steps of {training.recipe.optimiser}: "
            f"{first.kind} {first.name} of step {first.step} is {first.share:.1e} off; the limit is {first.limit:.1e}"
        )
        told += [f"{explanation.says}, within {explanation.error:.1e}" for explanation in explanations[:1]]
    if told:
        return told
    optimisers = " and ".join(dict.fromkeys(training.recipe.optimiser for training, _ in trainings))
    dtypes = " and ".join(dict.fromkeys(training.dtype for training, _ in trainings))
    framework, steps = trainings[0][0].framework, trainings[0][0].recipe.steps
    return [
        f"{framework}: every loss, gradient, weight and statistic is within its limit in {steps} steps of "
        f"{optimisers}, in {dtypes}"
    ]
