"""What `se-resnet parity` shows of an examination on a terminal."""

from collections.abc import Sequence

from rich.table import Table

from se_cli.output import table
from se_parity import Examination, Report
from se_parity.judge.golden import Comparison
from se_parity.train.training import KEPT, KINDS, Training


def lines_of(examined: Examination) -> list[str | Table]:
    report = examined.report
    lines: list[str | Table] = [
        f"{report.architecture.name}: "
        + "; ".join(f"{name}, logits over {span:.3g}" for name, span in report.ranges.items()),
        _matrix(report),
        *(f"not run: {skip.mode}: {skip.reason}" for skip in report.skips),
        _processes(report),
        f"TF32, had it stayed on: {examined.tf32.share:.1e} of the range",
    ]
    if examined.trainings:
        lines.append(_trainings([training for training, _ in examined.trainings]))
    if examined.comparison:
        lines += _moved(examined.comparison)
    passed = sum(run.passed for run in report.runs)
    lines += examined.sentences
    lines.append(
        f"{passed} of {len(report.runs)} runs within their limits: "
        + ("parity holds" if examined.passed else "parity FAILS")
    )
    return lines


def _verdict(passed: bool) -> str:
    return "[green]pass[/]" if passed else "[red]FAIL[/]"


def _matrix(report: Report) -> Table:
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
    columns = "run", "dtype", "images", "off", "of range", "limit", "ULP", "99.9 %", "top-1", "sure", "seconds", ""
    return table(*columns, rows=rows, right=columns[3:-1])


def _processes(report: Report) -> Table:
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
    columns = "process", "of", "product", "convolution", "denormals", "repeats", "seconds", "MiB", ""
    return table(*columns, rows=rows, right=("product", "convolution", "seconds", "MiB"))


def _trainings(trainings: Sequence[Training]) -> Table:
    rows = []
    for training in trainings:
        for kind in KINDS:
            found = [training.worst_of(kind, step) for step in KEPT]
            worst = [one for one in found if one]
            rows.append(
                (
                    f"{training.framework} {training.recipe.optimiser}",
                    training.dtype,
                    kind,
                    *(f"{one.share:.1e}" if one else "" for one in found),
                    f"{worst[-1].limit:.1e}",
                    _verdict(all(one.passed for one in worst)),
                )
            )
    columns = "training", "dtype", "of", *(f"step {step}" for step in KEPT), "limit", ""
    return table(*columns, rows=rows, right=columns[3:-1])


def _moved(comparison: Comparison) -> list[str | Table]:
    rows = [
        (
            moved.run,
            "yes" if moved.same_bits else "no",
            f"{moved.difference.share:.1e}",
            f"{moved.limit:.1e}",
            f"{moved.difference.ulp_largest:.0f}",
            f"{moved.difference.top1:.0%}",
            "; ".join(f"{key} {old or 'none'} to {new or 'none'}" for key, (old, new) in moved.environment.items()),
            _verdict(moved.passed),
        )
        for moved in comparison.moved
    ]
    columns = "since the golden", "same bits", "of range", "limit", "ULP", "top-1", "environment", ""
    lines: list[str | Table] = [table(*columns, rows=rows, right=columns[2:6])]
    lines += [f"in the golden and not run now: {run}" for run in comparison.only_golden]
    return lines
