"""`se-resnet parity`."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import click

from se_cli.options import (
    FRAMEWORK_ALIASES,
    PATH,
    architecture_option,
    dialect_option,
    output_options,
    parse_names,
    prefix_option,
)
from se_cli.output import Output
from se_cli.presentation.parity_tables import partial_summary, summary
from se_cli.statuses import FAILED
from se_parity import FRAMEWORKS, examine
from se_parity.case import Case
from se_parity.estimate import estimated_seconds
from se_parity.examination import RECIPES, ExaminationOptions, count_examined
from se_parity.inputs.open_case import open_case
from se_parity.inputs.stress import stress_cases
from se_parity.judge.check_parity import ParityInterrupted
from se_parity.judge.golden import golden_contents, read_golden
from se_parity.judge.matrix import DTYPES, expect_installed, installed_frameworks
from se_parity.judge.selection import EVERYTHING, QUICK, golden_selection
from se_parity.run.modes import MODE_NAMES, MODES, modes_of
from se_weights import MissingExtra, TargetExists
from se_weights.writing.atomic_write import atomic_write

INTERPRETERS = (*FRAMEWORKS, *(f"{mode.framework}.{mode.name}" for mode in MODES))
"""What `--python` takes an interpreter for: a framework, or one mode of it."""


@click.command("parity")
@click.argument("subject", metavar="NAME|FILE")
@click.option(
    "--frameworks",
    metavar="LIST",
    help=f"Frameworks ({', '.join(FRAMEWORKS)}; keras is tf), those installed by default.",
)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Run every mode and type, and batches of 1 and 3 images, unless they are named.",
)
@click.option(
    "--modes",
    metavar="LIST",
    help=f"Modes ({', '.join(MODE_NAMES)}); {', '.join(QUICK.modes)} by default.",
)
@click.option(
    "--dtype",
    "dtypes",
    metavar="LIST",
    help=f"Types ({', '.join(DTYPES)}); {', '.join(QUICK.dtypes)} by default.",
)
@click.option(
    "--device", type=click.Choice(["cpu", "gpu"]), default="cpu", show_default=True, help="The device to run on."
)
@click.option("--batch", "batches", metavar="LIST", help="Batch sizes; 2 by default.")
@click.option("--size", "sizes", metavar="LIST", help="Image sizes, HEIGHTxWIDTH in pixels; 64x49 by default.")
@click.option(
    "--stress",
    is_flag=True,
    help="Also run stress cases: dead channels, saturated gates, huge, tiny, denormal and constant images.",
)
@click.option("--train", is_flag=True, help="Also compare ten training steps with SGD and with AdamW.")
@click.option(
    "--localise", is_flag=True, help="Also run every layer on its own, to find where a framework first diverges."
)
@click.option(
    "--explain", is_flag=True, help="Also search the known faults for one with the same effect; implies --localise."
)
@click.option("--report", "page", type=PATH, metavar="HTML", help="Write an HTML report; implies --explain.")
@click.option("--golden", type=PATH, metavar="JSON", help="Write the logits of every run to a golden file.")
@click.option(
    "--against",
    type=PATH,
    metavar="JSON",
    help="Report what has changed since this golden file; by default its runs are run.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing HTML report or golden file.")
@click.option(
    "--python",
    "pythons",
    multiple=True,
    metavar="FRAMEWORK[.MODE]=PATH",
    help="The Python interpreter for a framework or for one of its modes; may be repeated.",
)
@dialect_option
@architecture_option
@prefix_option
@output_options
@click.pass_context
def command(
    context: click.Context,
    subject: str,
    dialect: str | None,
    architecture: str | None,
    prefix: str | None,
    frameworks: str | None,
    modes: str | None,
    dtypes: str | None,
    everything: bool,
    device: str,
    batches: str | None,
    sizes: str | None,
    stress: bool,
    train: bool,
    localise: bool,
    explain: bool,
    page: Path | None,
    golden: Path | None,
    against: Path | None,
    force: bool,
    pythons: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """Run a network in every framework and mode, and compare its logits with a float64 reference.

    NAME is an architecture, which gets trained-like weights; FILE is a weights file of any format. Each LIST is
    separated by commas. --localise, --explain and --train use the first batch size and the first image size. The exit
    status is 1 if a run differs from the reference by more than its limit.
    """
    output = Output(as_json, quiet)
    _expect_writable((page, golden), force)
    if page:
        _expect_report_extra()
    interpreters = _interpreters(pythons)
    default = EVERYTHING if everything else golden_selection(read_golden(against)) if against else QUICK
    chosen = parse_names(frameworks, FRAMEWORKS, "--frameworks", FRAMEWORK_ALIASES)
    chosen = chosen or list(default.frameworks) or installed_frameworks()
    chosen_modes = parse_names(modes, MODE_NAMES, "--modes") or list(default.modes)
    if not any(modes_of(framework, chosen_modes) for framework in chosen):
        raise click.BadParameter(f"{', '.join(chosen)} has none of {', '.join(chosen_modes)}", param_hint="--modes")
    expect_installed([framework for framework in chosen if framework not in interpreters])
    chosen_dtypes = parse_names(dtypes, DTYPES, "--dtype") or list(default.dtypes)
    options = ExaminationOptions(
        localise or explain or bool(page), explain or bool(page), RECIPES if train else (), against
    )
    cases = [
        open_case(subject, dialect=dialect, architecture=architecture, prefix=prefix, batch=batch, size=size)
        for size in (_sizes(sizes) if sizes else default.sizes)
        for batch in (_batches(batches) if batches else default.batches)
    ]
    if stress:
        cases += stress_cases(cases[0])
    if train and not cases[0].architecture.num_classes:
        raise click.BadParameter("a network without classes has no labels to train on", param_hint="--train")
    total = count_examined(len(cases), options, chosen, chosen_modes, chosen_dtypes)
    duration = estimated_seconds(cases, options, chosen, chosen_modes, chosen_dtypes)
    output.announce(_plan(cases, chosen, chosen_modes, chosen_dtypes, total, duration))
    try:
        with output.progress_bar(total) as on_step:
            examination = examine(
                cases,
                options,
                frameworks=chosen,
                modes=chosen_modes,
                dtypes=chosen_dtypes,
                device=device,
                pythons=interpreters,
                on_step=on_step,
            )
    except ParityInterrupted as interrupt:
        partial = interrupt.report
        output.show_result({**partial.to_dict(), "passed": False, "interrupted": True}, *partial_summary(partial))
        raise
    if golden:
        with atomic_write(golden, replace=True) as temporary:
            temporary.write_text(json.dumps(golden_contents(examination.report)) + "\n")
    if page:
        from se_parity.report.page import write_page  # imports matplotlib, which is slow

        with atomic_write(page, replace=True) as temporary:
            write_page(examination, temporary)
    output.show_result(examination.to_dict(), *summary(examination))
    if not examination.passed:
        context.exit(FAILED)


def _plan(
    cases: Sequence[Case],
    frameworks: Sequence[str],
    modes: Sequence[str],
    dtypes: Sequence[str],
    steps: int,
    seconds: float,
) -> str:
    """What will be run, and about how long it takes."""
    chosen = {framework: [mode.name for mode in modes_of(framework, list(modes))] for framework in frameworks}
    forms = "; ".join(f"{framework}: {', '.join(names)}" for framework, names in chosen.items() if names)
    images, minutes = ", ".join(case.name for case in cases), max(1, round(seconds / 60))
    time = f"about {minutes} minute{'s' if minutes > 1 else ''} on two cores"
    return f"{forms}; {', '.join(dtypes)}; images {images}; {steps} steps, {time}"


def _interpreters(pairs: tuple[str, ...]) -> dict[str, str]:
    interpreters = {}
    for pair in pairs:
        name, _, path = pair.partition("=")
        if name not in INTERPRETERS or not path:
            raise click.BadParameter(
                f"{pair!r} is not FRAMEWORK=PATH or FRAMEWORK.MODE=PATH with one of {', '.join(FRAMEWORKS)}",
                param_hint="--python",
            )
        interpreters[name] = path
    return interpreters


def _sizes(text: str) -> list[tuple[int, int]]:
    matches = [re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", part.strip()) for part in text.split(",")]
    if not all(matches):
        raise click.BadParameter(f"{text!r} is not HEIGHTxWIDTH in pixels, such as 224x224", param_hint="--size")
    return [(int(match[1]), int(match[2])) for match in matches if match]


def _batches(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[1-9]\d{0,3}", part) for part in parts):
        raise click.BadParameter(f"{text!r} is not a number of images, or several such as 1,3", param_hint="--batch")
    return [int(part) for part in parts]


def _expect_writable(targets: Sequence[Path | None], force: bool) -> None:
    """Raises an error for an output file that cannot be written, before the minutes of work and not after."""
    for target in targets:
        if target and target.exists() and not force:
            raise TargetExists(f"{target} already exists: use --force to overwrite it")
        if target and not target.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {target.parent} to write {target.name} to")


def _expect_report_extra() -> None:
    from importlib.util import find_spec

    if not (find_spec("jinja2") and find_spec("matplotlib")):
        raise MissingExtra("an HTML report needs jinja2 and matplotlib", "report")
