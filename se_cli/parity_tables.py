"""How `se-resnet parity` prints an examination: tables and sentences."""

from collections.abc import Sequence

from rich.table import Table

from se_cli.output import table
from se_parity import Examination, Report
from se_parity.judge.golden import GoldenComparison
from se_parity.train.check_training import RECORDED_STEPS, RESULT_KINDS, Training


def terminal_lines(examination: Examination) -> list[str | Table]:
    report = examination.report
    lines: list[str | Table] = [
        f"{report.architecture.name}: "
        + "; ".join(f"{name}, logits over {span:.3g}" for name, span in report.ranges.items()),
        _runs(report),
        *(f"not run: {skip.mode}: {skip.reason}" for skip in report.skips),
        _workers(report),
        f"difference that TF32 would cause (simulated): {examination.tf32.share:.1e} of the range",
    ]
    if examination.trainings:
        lines.append(_trainings([training for training, _ in examination.trainings]))
    if examination.golden_comparison:
        lines += _golden_changes(examination.golden_comparison)
    passed = sum(run.passed for run in report.runs)
    lines += examination.sentences
    lines.append(
        f"{passed} of {len(report.runs)} runs within their limits: "
        + ("parity holds" if examination.passed else "parity FAILS")
    )
    return lines


def _verdict(passed: bool) -> str:
    return "[green]pass[/]" if passed else "[red]FAIL[/]"


def _runs(report: Report) -> Table:
    rows = [
        (
            str(run.mode),
            run.dtype,
            run.case,
            f"{run.difference.largest:.1e}",
            f"{run.difference.share:.1e}",
            f"{run.limit:.1e}",
            f"{run.difference.ulp_median:.1f}",
            f"{run.difference.ulp_999:.0f}",
            f"{run.difference.top1:.0%}",
            f"{run.labels.certified:.0%}",
            f"{run.seconds:.1f}",
            _verdict(run.passed),
        )
        for run in report.runs
    ]
    columns = (
        "run",
        "dtype",
        "images",
        "max diff",
        "of range",
        "limit",
        "ULP",
        "99.9 %",
        "top-1",
        "certain",
        "seconds",
        "",
    )
    return table(*columns, rows=rows, right=columns[3:-1])


def _workers(report: Report) -> Table:
    rows = [
        (
            worker.name,
            ", ".join(f"{key} {value}" for key, value in worker.environment.items() if key != "python"),
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
    columns = "process", "versions", "product", "convolution", "denormals", "repeats", "seconds", "MiB", ""
    return table(*columns, rows=rows, right=("product", "convolution", "seconds", "MiB"))


def _trainings(trainings: Sequence[Training]) -> Table:
    rows = []
    for training in trainings:
        for kind in RESULT_KINDS:
            by_step = [training.worst_of(kind, step) for step in RECORDED_STEPS]
            compared = [worst for worst in by_step if worst]
            rows.append(
                (
                    f"{training.framework} {training.recipe.optimiser}",
                    training.dtype,
                    kind,
                    *(f"{worst.share:.1e}" if worst else "" for worst in by_step),
                    f"{compared[-1].limit:.1e}",
                    _verdict(all(worst.passed for worst in compared)),
                )
            )
    columns = "training", "dtype", "result", *(f"step {step}" for step in RECORDED_STEPS), "limit", ""
    return table(*columns, rows=rows, right=columns[3:-1])


def _golden_changes(comparison: GoldenComparison) -> list[str | Table]:
    rows = [
        (
            change.run,
            "yes" if change.same_bits else "no",
            f"{change.difference.share:.1e}",
            f"{change.limit:.1e}",
            f"{change.difference.ulp_largest:.0f}",
            f"{change.difference.top1:.0%}",
            "; ".join(f"{key} {old or 'none'} to {new or 'none'}" for key, (old, new) in change.environment.items()),
            _verdict(change.passed),
        )
        for change in comparison.changes
    ]
    columns = "since the golden", "same bits", "of range", "limit", "ULP", "top-1", "environment", ""
    lines: list[str | Table] = [table(*columns, rows=rows, right=columns[2:6])]
    lines += [f"in the golden file, but not run now: {run}" for run in comparison.only_golden]
    return lines
