"""The worker processes of the matrix of runs, several of which run at a time."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from se_parity.case import Case
from se_parity.judge.difference import compare, label_agreement
from se_parity.judge.expected import ExpectedLogits
from se_parity.judge.matrix import Run, Skip, WorkerRun
from se_parity.run.client import Worker, WorkerFailed
from se_parity.run.modes import Mode
from se_weights.threads import thread_count

JOBS = 2
"""Worker processes that run at a time where there are as many processors: each framework compiles in one thread most of
the time, and more models at a time need more memory."""

References = Mapping[tuple[str, str], ExpectedLogits]
"""What is expected of each case, by its name and the dtype."""


def default_jobs(device: str) -> int:
    """How many worker processes run at a time: one on a GPU, whose memory a framework takes whole."""
    return 1 if device == "gpu" else min(JOBS, thread_count())


@dataclass(eq=False)
class ParityProcess:
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
        """Run every case in every dtype and mode.

        Args:
            cases: as `check_parity` takes them, like `dtypes`, `device` and `on_step`.
            dtypes: "float64", "float32" or "bfloat16", which are the outer loop.
            references: what is expected.
            device: "cpu" or "gpu".
            on_step: called with a description before each run.

        Raises:
            WorkerFailed: the framework cannot run, or `stop` was called.
        """
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


def run_processes(processes: Sequence[ParityProcess], run: Callable[[ParityProcess], None], jobs: int) -> None:
    """Run worker processes, several at a time; where one fails or an interrupt comes, all are ended.

    Args:
        processes: those to run; the ones that take longest start first.
        run: runs one of them until it ends.
        jobs: how many run at a time.

    Raises:
        WorkerFailed: the error of the first process that failed.
    """
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
