"""The matrix of runs: the same weights and images in each framework, mode and dtype, compared with the reference."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from itertools import groupby, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from se_parity.case import Case
from se_parity.judge.difference import Difference, LabelAgreement, compare, label_agreement
from se_parity.judge.expected import ExpectedLogits, expected_logits
from se_parity.run.client import FRAMEWORKS, Worker, WorkerFailed
from se_parity.run.modes import Mode, modes_of
from se_parity.run.numerics import Probe
from se_spec import Architecture
from se_weights import MissingExtra

PACKAGES = {"torch": "torch", "tf": "tensorflow", "flax": "flax"}
"""The package whose presence shows that a framework's extra is installed."""

DTYPES = ("float64", "float32", "bfloat16")


@dataclass(frozen=True, eq=False)
class Run:
    """One case in one framework, mode and dtype, compared with the float64 reference.

    Attributes:
        mode: the framework and the mode.
        dtype: of the model and the images.
        case: the name of the case.
        logits: (N, num_classes).
        shares: (N, num_classes), the difference of each logit as a share of the logits' range.
        difference: between `logits` and the reference.
        labels: how many labels are certain, and how many of those are wrong.
        limit: of `difference.share`.
        seconds: the time of the run, with compilation.
    """

    mode: Mode
    dtype: str
    case: str
    logits: NDArray
    shares: NDArray
    difference: Difference
    labels: LabelAgreement
    limit: float
    seconds: float

    @property
    def name(self) -> str:
        return f"{self.mode}, {self.dtype}, {self.case}"

    @property
    def passed(self) -> bool:
        within = self.difference.share <= self.limit and self.difference.same_nonfinite
        return within and self.labels.flipped == 0

    def to_dict(self) -> dict[str, Any]:
        run = {"framework": self.mode.framework, "mode": self.mode.name, "dtype": self.dtype, "case": self.case}
        verdict = {"passed": self.passed, "limit": self.limit, "seconds": self.seconds}
        return {**run, **verdict, **self.difference.to_dict(), **asdict(self.labels)}


@dataclass(frozen=True)
class Skip:
    """A mode that did not run.

    Attributes:
        mode: the framework and the mode.
        reason: why it did not run, as a sentence.
    """

    mode: Mode
    reason: str

    def to_dict(self) -> dict[str, str]:
        return {"framework": self.mode.framework, "mode": self.mode.name, "reason": self.reason}


@dataclass(frozen=True)
class WorkerRun:
    """A worker process of the matrix.

    Attributes:
        modes: the modes that ran in it.
        environment: the versions and the device that it reported, as text by name.
        probe: its measured precision.
        seconds: from its start to its end.
        peak_bytes: its largest resident memory.
    """

    modes: Sequence[Mode]
    environment: Mapping[str, str]
    probe: Probe
    seconds: float
    peak_bytes: int

    @property
    def name(self) -> str:
        return f"{self.modes[0].framework} {', '.join(mode.name for mode in self.modes)}"

    def to_dict(self) -> dict[str, Any]:
        measured = {"seconds": self.seconds, "peak_bytes": self.peak_bytes}
        return {"name": self.name, "environment": dict(self.environment), "probe": self.probe.to_dict(), **measured}


@dataclass(frozen=True)
class Report:
    """The result of `check_parity`.

    Attributes:
        architecture: of every case.
        images: the shape (N, C, H, W) of the images, by name of the case.
        sha256: the hash of weights and images, by name of the case.
        ranges: the range of the expected logits, by name of the case.
        workers: the processes, in the order in which they ran.
        runs: every case in every framework, mode and dtype.
        skips: the modes that did not run.
    """

    architecture: Architecture
    images: Mapping[str, tuple[int, ...]]
    sha256: Mapping[str, str]
    ranges: Mapping[str, float]
    workers: Sequence[WorkerRun]
    runs: Sequence[Run]
    skips: Sequence[Skip] = ()

    def worker_of(self, run: Run) -> WorkerRun:
        """The process that a run belongs to."""
        return next(worker for worker in self.workers if run.mode in worker.modes)

    def deviation_from_float64(self, run: Run) -> float | None:
        """How far a run is from the float64 run of the same mode, as a share of the range; None without such a run."""
        for other in self.runs:
            if (other.mode, other.case, other.dtype) == (run.mode, run.case, "float64"):
                return float(np.abs(run.logits.astype(np.float64) - other.logits).max()) / self.ranges[run.case]
        return None

    @property
    def passed(self) -> bool:
        runs_passed = bool(self.runs) and all(run.passed for run in self.runs)
        return runs_passed and all(worker.probe.full_precision for worker in self.workers)

    def to_dict(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "architecture": self.architecture.to_dict(),
            "cases": {
                name: {"images": list(shape), "logit_range": self.ranges[name]} for name, shape in self.images.items()
            },
            "workers": [worker.to_dict() for worker in self.workers],
            "runs": [run.to_dict() | {"own_noise": self.deviation_from_float64(run)} for run in self.runs],
            "skipped": [skip.to_dict() for skip in self.skips],
        }


class ParityInterrupted(KeyboardInterrupt):
    """The runs were interrupted, as by Ctrl-C.

    Attributes:
        report: The runs that were finished before.
    """

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report


def installed_frameworks() -> list[str]:
    return [framework for framework in FRAMEWORKS if find_spec(PACKAGES[framework])]


def expect_installed(frameworks: Sequence[str]) -> None:
    """Raise MissingExtra, naming the pip extra, for the first framework that is not installed here."""
    for framework in frameworks:
        if framework not in installed_frameworks():
            raise MissingExtra(f"{framework} is not installed here", framework)


def check_parity(
    cases: Sequence[Case],
    *,
    frameworks: Sequence[str] = FRAMEWORKS,
    modes: Sequence[str] = (),
    dtypes: Sequence[str] = DTYPES,
    device: str = "cpu",
    pythons: Mapping[str, str] | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> Report:
    """Run cases in each framework, mode and dtype, and compare the logits with the float64 reference.

    Args:
        cases: all of one architecture.
        frameworks: of "torch", "tf" and "flax".
        modes: names of modes (se_parity.run.modes); none means all.
        dtypes: of "float64", "float32" and "bfloat16".
        device: "cpu" or "gpu".
        pythons: the interpreter of a framework ("torch") or of one of its modes ("torch.xla"); by default this one.
        on_step: called with a description before each step; `count_steps` returns how often.

    Returns:
        A report, whose `passed` is the verdict.

    Raises:
        WorkerFailed: a framework cannot run.
        ParityInterrupted: a KeyboardInterrupt came after the first run.
    """
    references: dict[tuple[str, str], ExpectedLogits] = {}
    for dtype, case in product(dtypes, cases):
        on_step(f"float64 reference, {case.name}, {dtype}")
        references[case.name, dtype] = expected_logits(case.astype(dtype), dtype)
    selected = [mode for framework in frameworks for mode in modes_of(framework, list(modes))]
    workers: list[WorkerRun] = []
    runs: list[Run] = []
    skips: list[Skip] = []

    def report() -> Report:
        return Report(
            cases[0].architecture,
            {case.name: case.images.shape for case in cases},
            {case.name: case.sha256 for case in cases},
            {case.name: references[case.name, dtypes[0]].range for case in cases},
            workers,
            runs,
            list(dict.fromkeys(skips)),
        )

    try:
        for (framework, python, variables), group in groupby(selected, lambda mode: process_key(mode, pythons or {})):
            shared = list(group)
            began = time.perf_counter()
            with Worker(framework, python=python, device=device, variables=dict(variables)) as worker:
                for dtype, case in product(dtypes, cases):
                    rounded = case.astype(dtype)
                    worker.load(rounded.architecture, rounded.weights, dtype)
                    for mode in shared:
                        on_step(f"{mode}, {case.name}, {dtype}")
                        if dtype in mode.lacks:
                            skips.append(Skip(mode, f"{dtype}: {mode.lacks[dtype]}"))
                            continue
                        try:
                            runs.append(_run(worker, mode, dtype, rounded, references[case.name, dtype]))
                        except WorkerFailed as failure:
                            if failure.kind != "ModeMissing":
                                raise
                            skips.append(Skip(mode, str(failure)))
                assert worker.probe
                peak = worker.peak_bytes()
                workers.append(WorkerRun(shared, worker.environment, worker.probe, time.perf_counter() - began, peak))
    except KeyboardInterrupt as interrupt:
        if not runs:
            raise
        raise ParityInterrupted(report()) from interrupt
    return report()


def _run(worker: Worker, mode: Mode, dtype: str, case: Case, expected: ExpectedLogits) -> Run:
    began = time.perf_counter()
    logits = worker.logits(case.images, mode.name)
    seconds = time.perf_counter() - began
    return Run(
        mode,
        dtype,
        case.name,
        logits,
        shares=np.abs(logits.astype(np.float64) - expected.logits) / expected.range,
        difference=compare(expected.logits, logits),
        labels=label_agreement(expected.logits, logits, expected.limit * expected.range),
        limit=expected.limit,
        seconds=seconds,
    )


def process_key(mode: Mode, pythons: Mapping[str, str]) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """Modes with the same key share a worker process.

    Args:
        mode: a mode.
        pythons: the interpreter of a framework ("torch") or of one of its modes ("torch.xla"); by default this one.
    """
    python = pythons.get(f"{mode.framework}.{mode.name}") or pythons.get(mode.framework) or sys.executable
    return mode.framework, python, tuple(mode.variables.items())


def count_steps(cases: int, frameworks: Sequence[str], modes: Sequence[str], dtypes: Sequence[str]) -> int:
    """How many times `check_parity` calls `on_step`.

    Args:
        cases: the number of cases.
        frameworks: as `check_parity` takes them, like `modes` and `dtypes`.
        modes: names of modes; all of them if empty.
        dtypes: names of dtypes.
    """
    runs = sum(len(modes_of(framework, list(modes))) for framework in frameworks)
    return cases * len(dtypes) * (1 + runs)
