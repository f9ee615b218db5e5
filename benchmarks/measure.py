"""Runs subjects in turn, each in the worker process of its framework, and records every duration."""

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

MAX_DISTURBANCE = 0.1
"""A step is repeated if other processes used more than this share of the CPUs."""

ATTEMPTS = 2
"""How often a step is run at most; the least disturbed attempt counts."""

PAUSE = 0.2
"""Seconds between two attempts."""


@dataclass(frozen=True)
class Times:
    """The durations of a subject.

    Attributes:
        first: Seconds of the first step, which includes compilation.
        steps: Seconds of each later step.
        others: The share of the CPUs that other processes used during each step.
    """

    first: float
    steps: Sequence[float]
    others: Sequence[float]

    @property
    def median(self) -> float:
        return median(self.steps)

    @property
    def spread(self) -> float:
        """Half the interquartile range, divided by the median."""
        low, _, high = quantiles(self.steps, n=4)
        return (high - low) / 2 / self.median

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"median": self.median, "spread": self.spread}


class Worker:
    """A process that runs the subjects of one framework.

    Args:
        framework: `torch`, `tf` or `flax`.
        python: The interpreter to run it with.
    """

    def __init__(self, framework: str, python: str = sys.executable) -> None:
        command = [python, "-m", "benchmarks.worker", framework]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        self.versions = self._answer()

    def prepare(self, subject: str, workload: str) -> float:
        """Prepare a subject; returns the seconds until its first step is done."""
        return self._request(prepare=subject, workload=workload)["wall"]

    def run(self, subject: str) -> dict[str, float]:
        """Run one step and return the least disturbed attempt: its seconds, and the share that other processes used."""
        answers = []
        for _ in range(ATTEMPTS):
            answers.append(self._request(run=subject))
            if answers[-1]["others"] <= MAX_DISTURBANCE:
                break
            time.sleep(PAUSE)
        return min(answers, key=lambda answer: answer["others"])

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()

    def _request(self, **request: str) -> Any:
        assert self.process.stdin
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(map(str, self.process.args))} ended unexpectedly")  # type: ignore[arg-type]
        return json.loads(line)


def measure(
    workload: str,
    subjects: Sequence[str],
    rounds: int,
    pythons: Mapping[str, str],
    on_step: Callable[[str], None] = lambda step: None,
) -> tuple[dict[str, Times], dict[str, str]]:
    """Measure subjects on a workload.

    Args:
        workload: The name of the workload.
        subjects: The names of the subjects.
        rounds: How many rounds to run; each subject runs one step in each. The first rounds only warm up.
        pythons: Interpreters by framework, for those that need another one than this process.
        on_step: Called with a description of each step.

    Returns:
        The durations of each subject, and the versions of the libraries.
    """
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
