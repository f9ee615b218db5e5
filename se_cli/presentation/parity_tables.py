"""The text and tables that `se-resnet parity` prints."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from se_cli.output import table
from se_parity import Examination, Report
from se_parity.judge.golden import GoldenComparison
from se_parity.judge.matrix import WorkerRun
from se_parity.train.check_training import RECORDED_STEPS, RESULT_KINDS, TensorComparison, Training


def summary(examination: Examination) -> list[str | Table]:
    """The lines and tables of an examination, from the runs to the verdict."""
    report = examination.report
    cases = "; ".join(f"{name}, logit range {logit_range:.3g}" for name, logit_range in report.ranges.items())
    lines: list[str | Table] = [
        f"{report.architecture.name}: {cases}",
        _runs_table(report),
        *(f"not run: {skip.mode}: {skip.reason}" for skip in report.skips),
        _workers_table(report),
        *(f"{worker.name}: {_environment(worker)}" for worker in report.workers),
        f"for comparison, simulated TF32 differs by {examination.tf32.share:.1e} of the range",
    ]
    if examination.trainings:
        trainings = [training for training, _ in examination.trainings]
        lines.append(_trainings_table(trainings))
        if not all(one.sensitive for training in trainings for one in training.comparisons):
            lines.append("* rounding alone may cause more than 1 %: the same row in float64 is the test")
    if examination.golden_comparison:
        lines += _golden_lines(examination.golden_comparison)
    passed = sum(run.passed for run in report.runs)
    lines += examination.sentences
    lines.append(
        f"{passed} of {len(report.runs)} runs within their limits: "
        + ("parity holds" if examination.passed else "parity FAILS")
    )
    return lines


def partial_summary(report: Report) -> list[str | Table]:
    """The lines and tables of the runs that were finished before an interrupt."""
    failed = sum(not run.passed for run in report.runs)
    return [_runs_table(report), f"interrupted after {len(report.runs)} runs, of which {failed} failed"]


def _verdict(passed: bool) -> Text:
    return Text("pass", style="green") if passed else Text("FAIL", style="red")


def _runs_table(report: Report) -> Table:
    """What fits into 80 columns; `--json` and the HTML report have more."""
    rows = [
        (
            str(run.mode),
            run.dtype,
            run.case,
            f"{run.difference.share:.1e}",
            f"{run.limit:.1e}",
            f"{run.difference.top1:.0%}",
            f"{run.seconds:.1f}",
            _verdict(run.passed),
        )
        for run in report.runs
    ]
    columns = "run", "dtype", "images", "of range", "limit", "top-1", "s", ""
    return table(*columns, rows=rows, right=columns[3:-1])


def _workers_table(report: Report) -> Table:
    rows = [
        (
            worker.name,
            f"{worker.probe.product:.2f}",
            f"{worker.probe.convolution:.2f}",
            "kept" if worker.probe.keeps_denormals else "flushed",
            "yes" if worker.probe.repeats else "NO",
            f"{worker.seconds:.0f}",
            f"{worker.peak_bytes / 2**20:,.0f}",
            _verdict(worker.probe.full_precision),
        )
        for worker in report.workers
    ]
    columns = "process", "product", "convolution", "denormals", "repeats", "seconds", "MiB", ""
    return table(*columns, rows=rows, right=("product", "convolution", "seconds", "MiB"))


def _environment(worker: WorkerRun) -> str:
    return ", ".join(f"{key} {value}" for key, value in worker.environment.items() if key != "python")


def _trainings_table(trainings: Sequence[Training]) -> Table:
    rows: list[tuple[str | Text, ...]] = []
    for training in trainings:
        for kind in RESULT_KINDS:
            worst_by_step = [training.worst_of(kind, step) for step in RECORDED_STEPS]
            compared = [worst for worst in worst_by_step if worst]
            rows.append(
                (
                    f"{training.framework} {training.recipe.optimiser}",
                    training.dtype,
                    kind,
                    *(_share(worst) if worst else "" for worst in worst_by_step),
                    f"{compared[-1].limit:.1e}",
                    _training_verdict(compared),
                )
            )
    columns = "training", "dtype", "quantity", *(f"step {step}" for step in RECORDED_STEPS), "limit", ""
    return table(*columns, rows=rows, right=columns[3:-1])


def _share(worst: TensorComparison) -> str:
    return f"{worst.share:.1e}{'' if worst.sensitive else '*'}"


def _training_verdict(compared: Sequence[TensorComparison]) -> Text:
    """Differences whose limits would accept an error of 1 % have no verdict of their own."""
    if all(worst.passed for worst in compared) and not any(worst.sensitive for worst in compared):
        return Text("float64")
    return _verdict(all(worst.passed for worst in compared))


def _golden_lines(comparison: GoldenComparison) -> list[str | Table]:
    rows = [
        (
            change.run,
            "yes" if change.same_bits else "no",
            f"{change.difference.share:.1e}",
            f"{change.limit:.1e}",
            f"{change.difference.ulp_largest:.0f}",
            f"{change.difference.top1:.0%}",
            _verdict(change.passed),
        )
        for change in comparison.changes
    ]
    columns = "since the golden", "same bits", "of range", "limit", "ULP", "top-1", ""
    lines: list[str | Table] = [table(*columns, rows=rows, right=columns[2:6])]
    upgrades = [
        f"{change.run.partition(',')[0]}, since the golden: {key} {old or 'none'} to {new or 'none'}"
        for change in comparison.changes
        for key, (old, new) in change.environment.items()
    ]
    lines += dict.fromkeys(upgrades)
    lines += [f"in the golden file, but not run now: {run}" for run in comparison.only_golden]
    return lines
