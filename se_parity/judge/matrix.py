"""The matrix of runs: the same weights and images in each framework, mode and dtype, and what they resulted in."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from se_parity.judge.difference import Difference, LabelAgreement
from se_parity.run.client import FRAMEWORKS
from se_parity.run.modes import Mode
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


def installed_frameworks() -> list[str]:
    return [framework for framework in FRAMEWORKS if find_spec(PACKAGES[framework])]


def expect_installed(frameworks: Sequence[str]) -> None:
    """Raise MissingExtra, naming the pip extra, for the first framework that is not installed here."""
    for framework in frameworks:
        if framework not in installed_frameworks():
            raise MissingExtra(f"{framework} is not installed here", framework)
