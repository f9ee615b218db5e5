"""Runs subjects in turn, whatever process each needs, and keeps every time."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Any

from benchmarks.workload import WORKLOADS

FRAMEWORKS = {
    "matmul": "torch", "timm": "torch", "torch": "torch",
    "plain": "tf", "Keras": "tf",
    "Flax": "flax",
}  # fmt: skip
"""The framework whose worker runs a subject, by the first word of its name."""

DISTURBED = 0.1
"""A step during which others took more than this share of the processors is run again, after a pause,"""

PATIENCE = 2
"""but not more often than this: the least disturbed one then counts."""

PAUSE = 0.2
"""Seconds."""


@dataclass(frozen=True)
class Times:
    """Seconds of every step of a subject, and of its first one, which compiles; `others` is the share of the
    processors that others took during each step."""

    first: float
    steps: Sequence[float]
    others: Sequence[float]

    @property
    def median(self) -> float:
        return median(self.steps)

    @property
    def spread(self) -> float:
        """Half of the distance between the quartiles, as a share of the median."""
        low, _, high = quantiles(self.steps, n=4)
        return (high - low) / 2 / self.median

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"median": self.median, "spread": self.spread}


class Worker:
    """A process for one framework, under an interpreter of its own where one is given."""

    def __init__(self, framework: str, python: str = sys.executable) -> None:
        command = [python, "-m", "benchmarks.worker", framework]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        self.versions = self._answer()

    def prepare(self, subject: str, workload: str) -> float:
        """Seconds until a subject's first step is done."""
        return self._asked(prepare=subject, workload=workload)["wall"]

    def run(self, subject: str) -> dict[str, float]:
        """One step during which the machine was ours, or as nearly as it came."""
        answers = []
        for _ in range(PATIENCE):
            answers.append(self._asked(run=subject))
            if answers[-1]["others"] <= DISTURBED:
                break
            time.sleep(PAUSE)
        return min(answers, key=lambda answer: answer["others"])

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()

    def _asked(self, **request: str) -> Any:
        assert self.process.stdin
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(map(str, self.process.args))} ended")  # type: ignore[arg-type]
        return json.loads(line)


def measure(
    workload: str,
    subjects: Sequence[str],
    rounds: int,
    pythons: Mapping[str, str],
    on_step: Callable[[str], None] = lambda step: None,
) -> tuple[dict[str, Times], dict[str, str]]:
    """The times of each subject at a workload, and the versions of what ran; one step of each a round, of which the
    first ones only warm up."""
    frameworks = {subject: FRAMEWORKS[subject.split()[0]] for subject in subjects}
    workers = {name: Worker(name, pythons.get(name, sys.executable)) for name in dict.fromkeys(frameworks.values())}
    firsts: dict[str, float] = {}
    steps: dict[str, list[dict[str, float]]] = {subject: [] for subject in subjects}
    try:
        for subject in subjects:
            on_step(f"{workload}: preparing {subject}")
            firsts[subject] = workers[frameworks[subject]].prepare(subject, workload)
        for number in range(rounds):
            on_step(f"{workload}: round {number + 1} of {rounds}")
            for subject in subjects:
                steps[subject].append(workers[frameworks[subject]].run(subject))
    finally:
        for worker in workers.values():
            worker.close()
    versions = {name: version for worker in workers.values() for name, version in worker.versions.items()}
    warm_ups = WORKLOADS[workload].warm_ups
    return {subject: _times(firsts[subject], steps[subject][warm_ups:]) for subject in subjects}, versions


def _times(first: float, steps: Sequence[Mapping[str, float]]) -> Times:
    return Times(first, [step["wall"] for step in steps], [step["others"] for step in steps])
