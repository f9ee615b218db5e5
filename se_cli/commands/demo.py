"""`se-resnet demo`."""

from pathlib import Path

import click
from rich.table import Table

from se_cli.options import PATH, output_options
from se_cli.output import Output, table
from se_cli.statuses import FAILED
from se_demo.run import MODELS, STEPS, Demo, run
from se_parity.run.client import DISPLAY_NAMES


@click.command("demo")
@click.option(
    "--out",
    type=PATH,
    default=Path("build/demo"),
    show_default=True,
    help="The folder for the checkpoints, report.json and report.html.",
)
@click.option(
    "--model",
    type=click.Choice(MODELS),
    default=MODELS[0],
    show_default=True,
    help="The architecture that is trained.",
)
@output_options
@click.pass_context
def command(context: click.Context, out: Path, model: str, as_json: bool, quiet: bool) -> None:
    """Train a digit classifier in PyTorch, convert it, evaluate it in all three frameworks, and write a report.

    The exit status is 1 if a predicted label changed, a logit is outside its limit, or an accuracy is below 97 %.
    """
    output = Output(as_json, quiet)
    with output.progress_bar(STEPS) as on_step:
        demo = run(out, on_step, model)
    from se_demo.report import write_report  # imports matplotlib; run() has checked that it is installed

    page = write_report(demo, out)
    output.show_result(demo.to_dict() | {"report": str(page)}, *_summary(demo, page))
    if not demo.passed:
        context.exit(FAILED)


def _summary(demo: Demo, page: Path) -> list[str | Table]:
    conversions = {conversion.file: conversion for conversion in demo.conversions}
    rows = []
    for evaluation in demo.evaluations:
        conversion = conversions.get(evaluation.file)
        rows.append(
            (
                evaluation.file,
                DISPLAY_NAMES[evaluation.framework],
                f"{evaluation.accuracy:.2%}",
                str(evaluation.labels_that_differ),
                f"{evaluation.float32.largest:.1e}",
                f"{evaluation.float32.share:.1e}",
                f"{evaluation.float64.share:.1e}",
                f"{conversion.bytes:,}" if conversion else "trained",
                f"{conversion.seconds:.2f}" if conversion else "",
            )
        )
    columns = (
        *("file", "framework", "accuracy", "changed labels"),
        *("float32 diff", "of range", "float64 of range", "bytes", "seconds"),
    )
    verdict = "nothing changed" if demo.passed else "SOMETHING CHANGED"
    return [
        table(*columns, rows=rows, right=columns[2:]),
        f"{len(demo.test.labels)} test images, differences from the float64 reference: {verdict}",
        f"report: {page}",
    ]
