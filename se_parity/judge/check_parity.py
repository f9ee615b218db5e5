"""Runs the same weights and images in each framework, mode and dtype, and compares them with the reference."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, product
from threading import Lock

import numpy as np

from se_parity.case import Case
from se_parity.judge.difference import compare, label_agreement
from se_parity.judge.expected import ExpectedLogits, expected_logits
from se_parity.judge.matrix import DTYPES, Report, Run, Skip, WorkerRun
from se_parity.run.client import FRAMEWORKS, Worker, WorkerFailed
from se_parity.run.modes import Mode, modes_of
from se_weights.threads import thread_count

JOBS = 2
"""Worker processes that run at a time where there are as many processors: each framework compiles in one thread most of
the time, and more models at a time need more memory."""

References = Mapping[tuple[str, str], ExpectedLogits]
"""What is expected of each case, by its name and the dtype."""


class ParityInterrupted(KeyboardInterrupt):
    """The runs were interrupted, as by Ctrl-C.

    Attributes:
        report: The runs that were finished before.
    """

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report


def check_parity(
    cases: Sequence[Case],
    *,
    frameworks: Sequence[str] = FRAMEWORKS,
    modes: Sequence[str] = (),
    dtypes: Sequence[str] = DTYPES,
    device: str = "cpu",
    pythons: Mapping[str, str] | None = None,
    jobs: int | None = None,
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
        jobs: how many worker processes run at a time; by default `default_jobs(device)`.
        on_step: called with a description before each step, by one thread at a time; `count_steps` returns how often.

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
    processes = [
        _Process(list(shared), python, dict(variables))
        for (_, python, variables), shared in groupby(selected, lambda mode: process_key(mode, pythons or {}))
    ]
    lock = Lock()

    def on_any_step(step: str) -> None:
        with lock:
            on_step(step)

    interrupt = None
    try:
        run = partial(
            _Process.run, cases=cases, dtypes=dtypes, references=references, device=device, on_step=on_any_step
        )
        _run_processes(processes, run, jobs or default_jobs(device))
    except KeyboardInterrupt as error:
        interrupt = error
    report = Report(
        cases[0].architecture,
        {case.name: case.images.shape for case in cases},
        {case.name: case.sha256 for case in cases},
        {case.name: references[case.name, dtypes[0]].range for case in cases},
        [process.finished for process in processes if process.finished],
        [run for process in processes for run in process.runs],
        list(dict.fromkeys(skip for process in processes for skip in process.skips)),
    )
    if interrupt:
        raise ParityInterrupted(report) if report.runs else interrupt
    return report


def default_jobs(device: str) -> int:
    """How many worker processes run at a time: one on a GPU, whose memory a framework takes whole."""
    return 1 if device == "gpu" else min(JOBS, thread_count())


@dataclass(eq=False)
class _Process:
    """A worker process of the matrix, and what has run in it so far.

    Attributes:
        modes: the modes that run in it, all of one framework.
        python: its interpreter.
        variables: environment variables.
        runs: the runs that are finished.
        skips: the modes that did not run.
        finished: the process as the report has it, once it has ended.
        worker: the process, once it has started.
        stopped: whether it must not go on.
    """

    modes: Sequence[Mode]
    python: str
    variables: Mapping[str, str]
    runs: list[Run] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    finished: WorkerRun | None = None
    worker: Worker | None = None
    stopped: bool = False

    def run(
        self,
        *,
        cases: Sequence[Case],
        dtypes: Sequence[str],
        references: References,
        device: str,
        on_step: Callable[[str], None],
    ) -> None:
        """Run every case in every dtype and mode, as `check_parity` does."""
        began = time.perf_counter()
        self.worker = Worker(self.modes[0].framework, python=self.python, device=device, variables=self.variables)
        if self.stopped:
            self.worker.kill()
        with self.worker as worker:
            for dtype, case in product(dtypes, cases):
                rounded = case.astype(dtype)
                worker.load(rounded.architecture, rounded.weights, dtype)
                for mode in self.modes:
                    on_step(f"{mode}, {case.name}, {dtype}")
                    if dtype in mode.lacks:
                        self.skips.append(Skip(mode, f"{dtype}: {mode.lacks[dtype]}"))
                        continue
                    try:
                        self.runs.append(_run(worker, mode, dtype, rounded, references[case.name, dtype]))
                    except WorkerFailed as failure:
                        if failure.kind != "ModeMissing":
                            raise
                        self.skips.append(Skip(mode, str(failure)))
            assert worker.probe
            peak, seconds = worker.peak_bytes(), time.perf_counter() - began
            self.finished = WorkerRun(self.modes, worker.environment, worker.probe, seconds, peak)

    def stop(self) -> None:
        """End the process, from another thread than the one that runs it."""
        self.stopped = True
        if self.worker:
            self.worker.kill()


def _run_processes(processes: Sequence[_Process], run: Callable[[_Process], None], jobs: int) -> None:
    """Run worker processes, several at a time; where one fails or an interrupt comes, all are ended."""
    if min(jobs, len(processes)) <= 1:
        for process in processes:
            run(process)
        return
    with ThreadPoolExecutor(jobs) as pool:
        longest_first = sorted(processes, key=lambda process: -sum(mode.seconds for mode in process.modes))
        futures = [pool.submit(run, process) for process in longest_first]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            for future in futures:
                future.cancel()
            for process in processes:
                process.stop()
            raise


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
