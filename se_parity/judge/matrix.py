"""Runs one network everywhere and judges: the same weights and images in each framework, mode and dtype."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from se_parity.case import Case
from se_parity.judge.difference import Difference, Labels, compare, labels
from se_parity.judge.truth import Truth, truth
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
    """One framework in one mode and dtype on one case: its logits, how far each is from the
    float64 oracle's as a share of their range, and what that comes to."""

    mode: Mode
    dtype: str
    case: str
    logits: NDArray
    shares: NDArray
    difference: Difference
    labels: Labels
    limit: float
    seconds: float

    @property
    def passed(self) -> bool:
        within = self.difference.share <= self.limit and self.difference.same_nonfinite
        return within and self.labels.flipped == 0

    def to_dict(self) -> dict[str, Any]:
        named = {"framework": self.mode.framework, "mode": self.mode.name, "dtype": self.dtype, "case": self.case}
        judged = {"passed": self.passed, "limit": self.limit, "seconds": self.seconds}
        return {**named, **judged, **self.difference.to_dict(), **asdict(self.labels)}


@dataclass(frozen=True)
class Skip:
    """What was not run, and why."""

    mode: Mode
    reason: str

    def to_dict(self) -> dict[str, str]:
        return {"framework": self.mode.framework, "mode": self.mode.name, "reason": self.reason}


@dataclass(frozen=True)
class WorkerRun:
    """A process that ran a framework: what it ran on, what its arithmetic proved to be, and what it took."""

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
    """Every run, what they were run on, and the verdict."""

    architecture: Architecture
    images: Mapping[str, tuple[int, ...]]
    sha256: Mapping[str, str]
    ranges: Mapping[str, float]
    workers: Sequence[WorkerRun]
    runs: Sequence[Run]
    skips: Sequence[Skip] = ()

    def worker_of(self, run: Run) -> WorkerRun:
        """The process that a run ran in."""
        return next(worker for worker in self.workers if run.mode in worker.modes)

    def own_noise(self, run: Run) -> float | None:
        """How far a run is from its mode's own float64 run, as a share of the range; none where there is no such."""
        for other in self.runs:
            if (other.mode, other.case, other.dtype) == (run.mode, run.case, "float64"):
                return float(np.abs(run.logits.astype(np.float64) - other.logits).max()) / self.ranges[run.case]
        return None

    @property
    def passed(self) -> bool:
        ran = bool(self.runs) and all(run.passed for run in self.runs)
        return ran and all(worker.probe.full_precision for worker in self.workers)

    def to_dict(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "architecture": self.architecture.to_dict(),
            "cases": {
                name: {"images": list(shape), "logit_range": self.ranges[name]} for name, shape in self.images.items()
            },
            "workers": [worker.to_dict() for worker in self.workers],
            "runs": [run.to_dict() | {"own_noise": self.own_noise(run)} for run in self.runs],
            "skipped": [skip.to_dict() for skip in self.skips],
        }


def installed_frameworks() -> list[str]:
    return [framework for framework in FRAMEWORKS if find_spec(PACKAGES[framework])]


def expect_installed(frameworks: Sequence[str]) -> None:
    """Raise MissingExtra, naming the pip extra, for the first framework that is not installed here."""
    for framework in frameworks:
        if framework not in installed_frameworks():
            raise MissingExtra(f"{framework} is not installed here: pip install 'se-resnet[{framework}]'")


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
    """Run the cases, all of one architecture, in each framework, mode and dtype, and compare with the oracle.

    No `modes` means all; `pythons` gives a framework ("torch") or one of its modes ("torch.xla") its own interpreter;
    `on_step` is told what comes next. Raises se_parity.run.client.WorkerFailed where a framework cannot run.
    """
    truths: dict[tuple[str, str], tuple[Case, Truth]] = {}
    for case in cases:
        for dtype in dtypes:
            on_step(f"the oracle, {case.name}, {dtype}")
            stored = case.stored_as(dtype)
            truths[case.name, dtype] = stored, truth(stored, dtype)
    chosen = [mode for framework in frameworks for mode in modes_of(framework, list(modes))]
    workers: list[WorkerRun] = []
    runs: list[Run] = []
    skips: list[Skip] = []
    for (framework, python, variables), together in groupby(chosen, lambda mode: _process(mode, pythons or {})):
        shared = list(together)
        began = time.perf_counter()
        with Worker(framework, python=python, device=device, variables=dict(variables)) as worker:
            for name, dtype in truths:
                stored, answer = truths[name, dtype]
                worker.load(stored.architecture, stored.weights, dtype)
                for mode in shared:
                    on_step(f"{mode}, {name}, {dtype}")
                    if dtype in mode.lacks:
                        skips.append(Skip(mode, f"{dtype}: {mode.lacks[dtype]}"))
                        continue
                    try:
                        runs.append(_run(worker, mode, dtype, stored, answer))
                    except WorkerFailed as failure:
                        if failure.kind != "ModeMissing":
                            raise
                        skips.append(Skip(mode, str(failure)))
            assert worker.probe
            peak = worker.peak_bytes()
            workers.append(WorkerRun(shared, worker.environment, worker.probe, time.perf_counter() - began, peak))
    return Report(
        cases[0].architecture,
        {case.name: case.images.shape for case in cases},
        {case.name: case.sha256 for case in cases},
        {case.name: truths[case.name, dtypes[0]][1].range for case in cases},
        workers,
        runs,
        list(dict.fromkeys(skips)),
    )


def _run(worker: Worker, mode: Mode, dtype: str, case: Case, answer: Truth) -> Run:
    began = time.perf_counter()
    logits = worker.logits(case.images, mode.name)
    seconds = time.perf_counter() - began
    certain = labels(answer.logits, logits, answer.limit * answer.range)
    shares = np.abs(logits.astype(np.float64) - answer.logits) / answer.range
    return Run(mode, dtype, case.name, logits, shares, compare(answer.logits, logits), certain, answer.limit, seconds)


def _process(mode: Mode, pythons: Mapping[str, str]) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """What decides which process a mode runs in."""
    python = pythons.get(f"{mode.framework}.{mode.name}") or pythons.get(mode.framework) or sys.executable
    return mode.framework, python, tuple(mode.variables.items())


def count_steps(cases: int, frameworks: Sequence[str], modes: Sequence[str], dtypes: Sequence[str]) -> int:
    """How many times `check_parity` calls `on_step`."""
    runs = sum(len(modes_of(framework, list(modes))) for framework in frameworks)
    return cases * len(dtypes) * (1 + runs)
