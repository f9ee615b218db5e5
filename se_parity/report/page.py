"""The report of `se-resnet parity`: one HTML page that needs no other file."""

import shlex
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from se_parity.diagnose.localise import MODULES
from se_parity.examination import Examination
from se_parity.reference.activations import logits_and_gates
from se_parity.report.drawing import LINES, Plot, render_figures
from se_parity.report.palette import LIGHT
from se_parity.report.rendering import render_page
from se_parity.run.client import DISPLAY_NAMES
from se_parity.train.check_training import RECORDED_STEPS, RESULT_KINDS

SMALLEST = 1e-18
"""Smaller differences are drawn at this value, since a logarithmic axis has no zero."""


def write_page(examination: Examination, path: Path) -> None:
    """Write an examination as one HTML page, with its figures inside.

    Args:
        examination: what `examine` returned, with a diagnosis of every framework (`ExaminationOptions.localise`).
        path: the file to write.
    """
    path.write_text(
        render_page(
            "se_parity.report",
            "page.html.j2",
            examination=examination,
            report=examination.report,
            steps=RECORDED_STEPS,
            kinds=RESULT_KINDS,
            names=DISPLAY_NAMES,
            figures=render_figures(PLOTS, examination),
            command=shlex.join(["se-resnet", *sys.argv[1:]]),
        )
    )


def plot_depth(examination: Examination) -> Figure:
    """The error of every layer's output in each framework and dtype, with its limit."""
    dtypes = [localisation.dtype for localisation in examination.diagnoses[0].localisations]
    figure = Figure(figsize=(10, 3.2 * len(dtypes)), layout="constrained")
    for row, (dtype, axes) in enumerate(zip(dtypes, np.atleast_1d(figure.subplots(len(dtypes), 1)), strict=True)):
        for diagnosis in examination.diagnoses:
            layers = diagnosis.localisations[row].layers
            axes.plot(
                [max(layer.running, SMALLEST) for layer in layers],
                color=LIGHT[diagnosis.framework],
                linestyle=LINES[diagnosis.framework],
                label=DISPLAY_NAMES[diagnosis.framework],
                linewidth=1,
            )
        limits = [layer.running_limit for layer in layers]
        axes.plot(limits, color=LIGHT["quiet"], linewidth=1, linestyle="dashdot", label="limit")
        axes.set_yscale("log")
        axes.set_ylabel(f"{dtype}, share of the range")
        blocks = [(index, layer.path) for index, layer in enumerate(layers) if layer.operation in MODULES.values()]
        labelled = blocks[:: max(1, len(blocks) // 16)]
        ticks, paths = [index for index, _ in labelled], [path for _, path in labelled]
        axes.set_xticks(ticks, paths, rotation=45, ha="right", fontsize=7)
        axes.legend(frameon=False, ncols=4, loc="lower right")
    return figure


def plot_differences(examination: Examination) -> Figure:
    """Histograms of every logit's difference from the reference, one for each dtype, with the first run's limit."""
    dtypes = list(dict.fromkeys(run.dtype for run in examination.report.runs))
    figure = Figure(figsize=(10, 2.8), layout="constrained")
    for dtype, axes in zip(dtypes, np.atleast_1d(figure.subplots(1, len(dtypes))), strict=True):
        of_dtype = [run for run in examination.report.runs if run.dtype == dtype]
        limit = of_dtype[0].limit
        low = np.log10(SMALLEST if dtype == "float64" else limit * 1e-5)
        edges = np.linspace(low, np.log10(limit) + 0.5, 40)
        for framework in dict.fromkeys(run.mode.framework for run in of_dtype):
            shares = np.concatenate([run.shares.ravel() for run in of_dtype if run.mode.framework == framework])
            axes.hist(
                np.clip(np.log10(np.maximum(shares, 10.0 ** edges[0])), edges[0], edges[-1]),
                bins=edges,
                histtype="step",
                color=LIGHT[framework],
                linestyle=LINES[framework],
                label=DISPLAY_NAMES[framework],
            )
        axes.axvline(np.log10(limit), color=LIGHT["quiet"], linestyle="dashdot", linewidth=1)
        axes.set_title(dtype, fontsize=9)
        axes.set_xlabel("log10 of the difference as a share of the range")
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
    axes.legend(frameon=False, loc="upper left", fontsize=8)
    return figure


def plot_gates(examination: Examination) -> Figure:
    """The first image's gates in every block: the reference's, and each framework's difference from them."""
    case = examination.case
    _, expected = logits_and_gates(case.architecture, case.weights, case.images)
    figure = Figure(figsize=(10, 2.6), layout="constrained")
    frameworks = {diagnosis.framework: diagnosis.localisations[-1].gates for diagnosis in examination.diagnoses}
    columns = np.atleast_1d(figure.subplots(1, 1 + len(frameworks)))
    width = max((gate.shape[1] for gate in expected.values()), default=1)
    for axes, (framework, gates) in zip(columns, [("", expected), *frameworks.items()], strict=True):
        grid = np.full((len(expected), width), np.nan) if expected else np.zeros((1, 1))
        for row, (block, gate) in enumerate(expected.items()):
            values = np.abs(gates[block][0] - gate[0]) if framework else gate[0]
            grid[row, : len(values)] = np.sort(values)
        if framework:
            grid = np.log10(np.maximum(grid, 1e-10))
        image = axes.imshow(grid, aspect="auto", interpolation="nearest", cmap="magma" if framework else "viridis")
        title = f"{DISPLAY_NAMES[framework]}, log10 of the difference" if framework else "gates (float64 reference)"
        axes.set_title(title, fontsize=8)
        axes.set_xlabel("channels, sorted", fontsize=7)
        axes.set_ylabel("" if framework else "blocks", fontsize=7)
        axes.tick_params(labelsize=6)
        figure.colorbar(image, ax=axes, shrink=0.8)
    return figure


PLOTS = {
    "depth": Plot(plot_depth, "The error of each layer's output by depth, one line for each framework, and the limit."),
    "differences": Plot(plot_differences, "Histograms of the differences of all logits, and the limit."),
    "gates": Plot(plot_gates, "The gates of the reference by block, and each framework's differences from them."),
}
"""The figures of the page, by their names in the template."""
