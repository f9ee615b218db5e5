"""A golden: what every run gave, kept as JSON, so that an upgrade of a framework shows what it moved."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from se_parity.judge.difference import Difference, compare
from se_parity.judge.matrix import Report, Run
from se_weights import MalformedFile

SCHEMA = 1


@dataclass(frozen=True)
class Moved:
    """One run beside the golden's of the same framework, mode, dtype and case."""

    run: str
    same_bits: bool
    difference: Difference
    limit: float
    environment: Mapping[str, tuple[str, str]]

    @property
    def passed(self) -> bool:
        return self.difference.share <= self.limit and self.difference.same_nonfinite

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed}


@dataclass(frozen=True)
class Comparison:
    """Every run that both have, and those that only one of them has."""

    moved: Sequence[Moved]
    only_golden: Sequence[str]
    only_now: Sequence[str]

    @property
    def passed(self) -> bool:
        return bool(self.moved) and not self.only_golden and all(one.passed for one in self.moved)

    def to_dict(self) -> dict[str, Any]:
        runs = {"only_golden": list(self.only_golden), "only_now": list(self.only_now)}
        return {"passed": self.passed, "moved": [one.to_dict() for one in self.moved], **runs}


def golden_facts(report: Report) -> dict[str, Any]:
    """What is kept: shapes and hashes of what was run, the environments, and every logit, exactly."""
    return {
        "schema": SCHEMA,
        "architecture": report.architecture.to_dict(),
        "cases": {
            name: {"images": list(shape), "sha256": report.sha256[name]} for name, shape in report.images.items()
        },
        "environments": {worker.name: dict(worker.environment) for worker in report.workers},
        "runs": [
            {"run": name(run), "worker": report.worker_of(run).name, "logits": _kept(run.logits)} for run in report.runs
        ],
    }


def read_golden(path: Path) -> dict[str, Any]:
    """What `golden_facts` gave when the file was written. Raises MalformedFile for a file that is no golden."""
    try:
        kept = json.loads(path.read_text())
        if kept["schema"] != SCHEMA or not all(key in kept for key in ("cases", "environments", "runs")):
            raise ValueError(f"its schema is not {SCHEMA}")
    except (ValueError, KeyError, TypeError) as error:
        raise MalformedFile(f"{path} is not a golden of se-resnet parity: {error}") from error
    return kept


def against(kept: Mapping[str, Any], report: Report) -> Comparison:
    """Compare a report with what a golden kept. Raises MalformedFile for a golden of another subject."""
    for case, facts in kept["cases"].items():
        if case in report.sha256 and facts["sha256"] != report.sha256[case]:
            raise MalformedFile(f"the golden was made from other weights or images than these, in {case}")
    before = {run["run"]: run for run in kept["runs"]}
    now = {name(run): run for run in report.runs}
    both = [run for run in before if run in now]
    moved = [_moved(run, before[run], now[run], kept, report) for run in both]
    return Comparison(moved, [run for run in before if run not in now], [run for run in now if run not in before])


def name(run: Run) -> str:
    return f"{run.mode}, {run.dtype}, {run.case}"


def _moved(run: str, before: Mapping[str, Any], now: Run, kept: Mapping[str, Any], report: Report) -> Moved:
    logits = np.array(before["logits"], np.float64)
    if logits.shape != now.logits.shape:
        raise MalformedFile(f"the golden has logits of shape {logits.shape} for {run}: {now.logits.shape} came now")
    old, new = kept["environments"].get(before["worker"], {}), report.worker_of(now).environment
    changed = {key: (old.get(key, ""), new.get(key, "")) for key in {*old, *new} if old.get(key) != new.get(key)}
    same = np.array_equal(logits, now.logits.astype(np.float64), equal_nan=True)
    # Both are within the limit of the truth, so they may be twice that apart.
    return Moved(run, same, compare(logits, now.logits), 2 * now.limit, dict(sorted(changed.items())))


def _kept(logits: NDArray) -> list[list[float]]:
    return logits.astype(np.float64).tolist()
