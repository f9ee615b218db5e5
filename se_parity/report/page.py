"""The report of `se-resnet parity` as one page that needs no other file."""

import shlex
import sys
from pathlib import Path

import jinja2
import numpy as np
from matplotlib.figure import Figure

from se_parity.examination import Examination
from se_parity.reference.record import logits_and_gates
from se_parity.report.drawing import COLOURS, drawn
from se_parity.run.client import NAMES
from se_parity.train.training import KEPT, KINDS
from se_spec import __version__

SMALLEST = 1e-18
"""Differences below are drawn here: a logarithm has no zero."""


def write_page(examined: Examination, path: Path) -> None:
    loader = jinja2.PackageLoader("se_parity.report", "")
    environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, autoescape=True)
    path.write_text(
        environment.get_template("page.html.j2").render(
            examined=examined,
            report=examined.report,
            kept=KEPT,
            kinds=KINDS,
            names=NAMES,
            pictures=drawn({"depth": depth, "differences": differences, "gates": gates}, examined),
            command=shlex.join(["se-resnet", *sys.argv[1:]]),
            version=__version__,
        )
    )


def depth(examined: Examination) -> Figure:
    """How far each framework is from the truth, part after part, with the limit that rounding gives."""
    dtypes = [found.dtype for found in examined.diagnoses[0].found]
    figure = Figure(figsize=(10, 3.2 * len(dtypes)), layout="constrained")
    for row, (dtype, axes) in enumerate(zip(dtypes, np.atleast_1d(figure.subplots(len(dtypes), 1)), strict=True)):
        for diagnosis in examined.diagnoses:
            steps = diagnosis.found[row].steps
            axes.plot(
                [max(step.running, SMALLEST) for step in steps],
                color=COLOURS[diagnosis.framework],
                label=NAMES[diagnosis.framework],
                linewidth=1,
            )
        axes.plot([step.running_limit for step in steps], color="#666666", linewidth=1, linestyle=":", label="limit")
        axes.set_yscale("log")
        axes.set_ylabel(f"{dtype}, of the range")
        blocks = [(index, step.path) for index, step in enumerate(steps) if step.operation == "residual block"]
        shown = blocks[:: max(1, len(blocks) // 16)]
        axes.set_xticks([index for index, _ in shown], [path for _, path in shown], rotation=45, ha="right", fontsize=7)
        axes.legend(frameon=False, ncols=4, loc="lower right")
    return figure


def differences(examined: Examination) -> Figure:
    """Every logit's difference from the truth of the first case, in steps of its dtype's own limit."""
    dtypes = list(dict.fromkeys(run.dtype for run in examined.report.runs))
    figure = Figure(figsize=(10, 2.8), layout="constrained")
    for dtype, axes in zip(dtypes, np.atleast_1d(figure.subplots(1, len(dtypes))), strict=True):
        of_dtype = [run for run in examined.report.runs if run.dtype == dtype]
        limit = of_dtype[0].limit
        low = np.log10(SMALLEST if dtype == "float64" else limit * 1e-5)
        edges = np.linspace(low, np.log10(limit) + 0.5, 40)
        for framework in dict.fromkeys(run.mode.framework for run in of_dtype):
            shares = np.concatenate([run.shares.ravel() for run in of_dtype if run.mode.framework == framework])
            axes.hist(
                np.clip(np.log10(np.maximum(shares, 10.0 ** edges[0])), edges[0], edges[-1]),
                bins=edges,
                histtype="step",
                color=COLOURS[framework],
                label=NAMES[framework],
            )
        axes.axvline(np.log10(limit), color="#666666", linestyle=":", linewidth=1)
        axes.set_title(dtype, fontsize=9)
        axes.set_xlabel("log10 of the difference, of the range")
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
    axes.legend(frameon=False, loc="upper left", fontsize=8)
    return figure


def gates(examined: Examination) -> Figure:
    """The gates of the first image in every block: the oracle's, and what each framework's are away from them."""
    case = examined.case
    _, truth = logits_and_gates(case.architecture, case.weights, case.images)
    figure = Figure(figsize=(10, 2.6), layout="constrained")
    found = {diagnosis.framework: diagnosis.found[-1].gates for diagnosis in examined.diagnoses}
    columns = figure.subplots(1, 1 + len(found))
    grid = np.full((len(truth), max(gate.shape[1] for gate in truth.values())), np.nan) if truth else np.zeros((1, 1))
    for axes, (name, values) in zip(np.atleast_1d(columns), [("oracle", truth), *found.items()], strict=True):
        shown = grid.copy()
        for row, (block, gate) in enumerate(truth.items()):
            given = values[block][0] if name == "oracle" else np.abs(values[block][0] - gate[0])
            shown[row, : len(given)] = np.sort(given)
        if name != "oracle":
            shown = np.log10(np.maximum(shown, 1e-10))
        image = axes.imshow(
            shown, aspect="auto", interpolation="nearest", cmap="viridis" if name == "oracle" else "magma"
        )
        axes.set_title("gates (oracle)" if name == "oracle" else f"{NAMES[name]}, log10 of the difference", fontsize=8)
        axes.set_xlabel("channels, sorted", fontsize=7)
        axes.set_ylabel("blocks" if name == "oracle" else "", fontsize=7)
        axes.tick_params(labelsize=6)
        figure.colorbar(image, ax=axes, shrink=0.8)
    return figure
