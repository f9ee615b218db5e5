"""Golden files: the logits of every run, stored as JSON, to find out what an upgrade of a framework changes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from se_parity.case import Case
from se_parity.judge.difference import Difference, compare
from se_parity.judge.matrix import Report, Run
from se_weights import MalformedFile

SCHEMA = 1


@dataclass(frozen=True)
class RunChange:
    """A run compared with the run of the same framework, mode, dtype and case in a golden file.

    Attributes:
        run: the name of the run.
        same_bits: whether every logit is the same.
        difference: between the golden logits and the new ones.
        limit: of `difference.share`.
        environment: the entries that differ, as (golden, now) by name.
    """

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
class GoldenComparison:
    """A report compared with a golden file.

    Attributes:
        changes: the runs that both contain.
        only_golden: the names of runs that only the golden file contains; one is enough to fail.
        only_now: the names of runs that only the report contains.
    """

    changes: Sequence[RunChange]
    only_golden: Sequence[str]
    only_now: Sequence[str]

    @property
    def passed(self) -> bool:
        return bool(self.changes) and not self.only_golden and all(change.passed for change in self.changes)

    def to_dict(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "moved": [change.to_dict() for change in self.changes],
            "only_golden": list(self.only_golden),
            "only_now": list(self.only_now),
        }


def golden_contents(report: Report) -> dict[str, Any]:
    """What a golden file stores of a report: shapes and hashes of the cases, the environments, and every logit."""
    return {
        "schema": SCHEMA,
        "architecture": report.architecture.to_dict(),
        "cases": {
            name: {"images": list(shape), "sha256": report.sha256[name]} for name, shape in report.images.items()
        },
        "environments": {worker.name: dict(worker.environment) for worker in report.workers},
        "runs": [
            {
                "run": run.name,
                "worker": report.worker_of(run).name,
                "logits": run.logits.astype(np.float64).tolist(),
            }
            for run in report.runs
        ],
    }


def read_golden(path: Path) -> dict[str, Any]:
    """Read the `golden_contents` of a file.

    Raises:
        MalformedFile: the file is not a golden file.
    """
    try:
        golden = json.loads(path.read_text())
        if golden["schema"] != SCHEMA:
            raise ValueError(f"its schema is not {SCHEMA}")
        _expect_contents(golden)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MalformedFile(f"{path} is not a golden file of se-resnet parity: {error}") from error
    return golden


def _expect_contents(golden: Mapping[str, Any]) -> None:
    """Raise an error unless everything that `golden_contents` wrote is there, of the same type."""
    texts = [case["sha256"] for case in golden["cases"].values()]
    texts += [run[key] for run in golden["runs"] for key in ("run", "worker")]
    texts += [text for environment in golden["environments"].values() for text in environment.values()]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a name, a hash or a version is not a text")
    for run in golden["runs"]:
        np.array(run["logits"], np.float64)


def expect_same_cases(golden: Mapping[str, Any], cases: Sequence[Case]) -> None:
    """Raise MalformedFile unless the golden file was made from the same weights and images.

    Args:
        golden: what `read_golden` returned.
        cases: the cases of today.
    """
    for case in cases:
        if case.name in golden["cases"] and golden["cases"][case.name]["sha256"] != case.sha256:
            raise MalformedFile(
                f"the golden file was made from other weights or images than these, in {case.name}: if they were "
                "changed on purpose, write it again with --golden and --force, or with pytest --parity-update"
            )


def compare_with_golden(golden: Mapping[str, Any], report: Report) -> GoldenComparison:
    """Compare a report with the contents of a golden file.

    Args:
        golden: what `read_golden` returned.
        report: the runs of today, of the same cases.

    Raises:
        MalformedFile: logits in the golden file have another shape.
    """
    before = {run["run"]: run for run in golden["runs"]}
    now = {run.name: run for run in report.runs}
    return GoldenComparison(
        [_change(name, before[name], now[name], golden, report) for name in before if name in now],
        [name for name in before if name not in now],
        [name for name in now if name not in before],
    )


def _change(name: str, before: Mapping[str, Any], now: Run, golden: Mapping[str, Any], report: Report) -> RunChange:
    logits = np.array(before["logits"], np.float64)
    if logits.shape != now.logits.shape:
        raise MalformedFile(f"{name}: the golden file has logits of shape {logits.shape}, this run {now.logits.shape}")
    old, new = golden["environments"].get(before["worker"], {}), report.worker_of(now).environment
    changed = {key: (old.get(key, ""), new.get(key, "")) for key in {*old, *new} if old.get(key) != new.get(key)}
    same = np.array_equal(logits, now.logits.astype(np.float64), equal_nan=True)
    # Each may differ from the reference by the limit, so they may differ from each other by twice that.
    return RunChange(name, same, compare(logits, now.logits), 2 * now.limit, dict(sorted(changed.items())))
