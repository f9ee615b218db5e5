"""Runs the same weights and images in each framework, mode and dtype, and compares them with the reference."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby, product
from threading import Lock

from se_parity.case import Case
from se_parity.judge.expected import ExpectedLogits, expected_logits
from se_parity.judge.matrix import DTYPES, Report
from se_parity.judge.processes import ParityProcess, default_jobs, process_key, run_processes
from se_parity.run.client import FRAMEWORKS
from se_parity.run.modes import modes_of


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
        ParityProcess(list(shared), python, dict(variables))
        for (_, python, variables), shared in groupby(selected, lambda mode: process_key(mode, pythons or {}))
    ]
    lock = Lock()

    def on_any_step(step: str) -> None:
        with lock:
            on_step(step)

    interrupt = None
    try:
        run = partial(
            ParityProcess.run, cases=cases, dtypes=dtypes, references=references, device=device, on_step=on_any_step
        )
        run_processes(processes, run, jobs or default_jobs(device))
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
