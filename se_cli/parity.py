"""`se-resnet parity`."""

import re
from collections.abc import Mapping
from pathlib import Path

import click
from numpy.typing import NDArray
from rich.table import Table

import se_spec
import se_weights
from se_cli.options import names, output_options, settling_option
from se_cli.output import Output, table
from se_cli.statuses import FAILED
from se_parity import FRAMEWORKS, Report, check_parity, sample_images, trained_like_weights
from se_parity.parity import DTYPES, MODES, count_steps, expect_installed, installed_frameworks

ALL_MODES = tuple(dict.fromkeys(mode for modes in MODES.values() for mode in modes))


@click.command("parity")
@click.argument("subject", metavar="NAME|FILE")
@click.option("--frameworks", metavar="LIST", help=f"Of {','.join(FRAMEWORKS)}; those installed by default.")
@click.option("--modes", metavar="LIST", help=f"Of {','.join(ALL_MODES)}; all by default.")
@click.option("--dtype", "dtypes", metavar="LIST", help=f"Of {','.join(DTYPES)}; all by default.")
@click.option("--device", type=click.Choice(["cpu", "gpu"]), default="cpu", show_default=True)
@click.option("--batch", type=click.IntRange(1), default=2, show_default=True, help="Images.")
@click.option("--size", default="64x49", show_default=True, metavar="HxW", help="Height and width of the images.")
@click.option("--python", "pythons", multiple=True, metavar="FRAMEWORK=PATH", help="An interpreter of its own.")
@settling_option
@output_options
@click.pass_context
def command(
    context: click.Context,
    subject: str,
    dialect: str | None,
    frameworks: str | None,
    modes: str | None,
    dtypes: str | None,
    device: str,
    batch: int,
    size: str,
    pythons: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """Run a network in every framework and mode, and judge its logits against a float64 oracle.

    NAME is an architecture, which gets trained-like weights; FILE is a weights file of any format. Status 1 if any
    run is further from the truth than its limit.
    """
    output = Output(as_json, quiet)
    interpreters = _interpreters(pythons)
    chosen = names(frameworks, FRAMEWORKS, "--frameworks") or installed_frameworks()
    chosen_modes = names(modes, ALL_MODES, "--modes")
    if chosen_modes and not any(set(chosen_modes) & set(MODES[framework]) for framework in chosen):
        raise click.BadParameter(f"{', '.join(chosen)} has none of {', '.join(chosen_modes)}", param_hint="--modes")
    expect_installed([framework for framework in chosen if framework not in interpreters])
    chosen_dtypes = names(dtypes, DTYPES, "--dtype") or DTYPES
    height, width = _size(size)
    architecture, weights = _subject(subject, dialect)
    images = sample_images(architecture, batch, height, width)
    with output.steps(count_steps(chosen, chosen_modes, chosen_dtypes)) as on_step:
        report = check_parity(
            architecture,
            weights,
            images,
            frameworks=chosen,
            modes=chosen_modes,
            dtypes=chosen_dtypes,
            device=device,
            pythons=interpreters,
            on_step=on_step,
        )
    output.result(report.facts, *_lines(report))
    if not report.passed:
        context.exit(FAILED)


def _interpreters(pairs: tuple[str, ...]) -> dict[str, str]:
    interpreters = {}
    for pair in pairs:
        framework, _, path = pair.partition("=")
        if framework not in FRAMEWORKS or not path:
            raise click.BadParameter(
                f"{pair!r} is not FRAMEWORK=PATH with one of {', '.join(FRAMEWORKS)}", param_hint="--python"
            )
        interpreters[framework] = path
    return interpreters


def _size(text: str) -> tuple[int, int]:
    sides = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if not sides:
        raise click.BadParameter(f"{text!r} is not HEIGHTxWIDTH in pixels, such as 224x224", param_hint="--size")
    return int(sides[1]), int(sides[2])


def _subject(text: str, dialect: str | None) -> tuple[se_spec.Architecture, Mapping[str, NDArray]]:
    """A file where there is one, or where the text can only mean one; else an architecture with weights made for it."""
    if Path(text).exists() or "." in text or "/" in text:
        checkpoint, _ = se_weights.read_settled(text, dialect=dialect)
        return checkpoint.architecture, checkpoint.weights
    architecture = se_spec.architecture(text)
    return architecture, trained_like_weights(architecture)


def _lines(report: Report) -> list[str | Table]:
    rows = [
        (
            f"{run.framework} {run.mode}",
            run.dtype,
            f"{run.difference.largest:.2e}",
            f"{run.difference.share:.2e}",
            f"{run.limit:.2e}",
            f"{run.difference.ulp_median:.1f}",
            f"{run.difference.top1:.0%}",
            f"{run.difference.top5:.0%}",
            f"{run.seconds:.1f}",
            "[green]pass[/]" if run.passed else "[red]FAIL[/]",
        )
        for run in report.runs
    ]
    columns = "run", "dtype", "difference", "of range", "limit", "ULP", "top-1", "top-5", "seconds", ""
    passed = sum(run.passed for run in report.runs)
    return [
        f"{report.architecture.name}, images {'x'.join(map(str, report.images))}, logits over {report.logit_range:.3g}",
        table(*columns, rows=rows, right=columns[2:-1]),
        f"{passed} of {len(report.runs)} runs within their limits: "
        + ("parity holds" if report.passed else "parity FAILS"),
    ]
