"""The plots of the demo's report, as SVG text."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from se_demo.run import FRAMEWORK_OF_FILE, Demo
from se_parity.report.drawing import LINES, Plot, render_figures
from se_parity.report.palette import LIGHT
from se_parity.run.client import DISPLAY_NAMES

LOADED_FILES = "digits.pth", "digits.weights.h5", "digits.msgpack"
"""One file for each framework, in the order of the frameworks in the plots."""

DIGITS = "torch", "tf", "flax", "passed", "quiet"
"""Colors of the palette for the digits: solid lines from 0 to 4, dashed ones from 5 to 9."""


def draw_plots(demo: Demo) -> dict[str, str]:
    """Draw every plot as SVG, by its name in the template."""
    return render_figures(PLOTS, demo)


def samples(demo: Demo) -> Figure:
    """24 test images with the predictions of the three frameworks, wrong predictions first."""
    predictions = {file: logits.argmax(1) for file, logits in demo.logits.items()}
    wrong = predictions["digits.pth"] != demo.test.labels
    indices = np.argsort(~wrong, kind="stable")[:24]
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    for axes, index in zip(figure.subplots(3, 8).flat, indices, strict=True):
        axes.imshow(demo.test.images[index, 0], cmap="gray_r", interpolation="nearest")
        axes.set_axis_off()
        label, predicted = demo.test.labels[index], " ".join(str(predictions[file][index]) for file in LOADED_FILES)
        color = LIGHT["failed" if wrong[index] else "text"]
        axes.set_title(f"{label}, predicted {predicted}", fontsize=8, color=color)
    return figure


def curve(demo: Demo) -> Figure:
    """The training loss, and the accuracy on the training and the test images, by epoch."""
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    epochs = np.arange(1, len(demo.curve) + 1)
    loss.plot(epochs, [epoch["loss"] for epoch in demo.curve], color=LIGHT["accent"])
    loss.set(xlabel="epoch", ylabel="training loss")
    training = [epoch["training_accuracy"] for epoch in demo.curve]
    accuracy.plot(epochs, training, color=LIGHT["quiet"], linestyle="dashed", label="training images")
    accuracy.plot(epochs, [epoch["test_accuracy"] for epoch in demo.curve], color=LIGHT["accent"], label="test images")
    accuracy.axhline(0.97, color=LIGHT["quiet"], linewidth=0.8, linestyle=":")
    accuracy.set(xlabel="epoch", ylabel="accuracy", ylim=(0.8, 1.005))
    accuracy.legend(frameon=False, loc="lower right")
    return figure


def differences(demo: Demo) -> Figure:
    """A histogram for each framework: the differences of the float32 logits from the float64 reference."""
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    axes: Axes = figure.subplots()
    bins = np.geomspace(1e-10, 1e-5, 61).tolist()
    logit_range = np.ptp(demo.reference)
    for file in LOADED_FILES:
        shares = np.abs(demo.logits[file] - demo.reference).ravel() / logit_range
        framework = FRAMEWORK_OF_FILE[file]
        axes.hist(
            np.maximum(shares, bins[0]),
            bins,
            histtype="step",
            color=LIGHT[framework],
            linestyle=LINES[framework],
            linewidth=1.4,
            label=DISPLAY_NAMES[framework],
        )
    axes.axvline(1e-5, color=LIGHT["quiet"], linewidth=0.8, linestyle=":")
    axes.text(0.9e-5, axes.get_ylim()[1] * 0.9, "limit", ha="right", color=LIGHT["quiet"])
    axes.set(
        xscale="log", xlabel="difference from the float64 reference / range of the logits", ylabel="number of logits"
    )
    axes.legend(frameon=False, loc="upper left")
    return figure


def gates(demo: Demo) -> Figure:
    """The mean gate of each channel for each class, in the last block of each stage (figure 6 of the paper)."""
    stages = {name.rsplit(".", 2)[0]: name for name in demo.gates}
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    columns = figure.subplots(len(stages), 1)
    largest = max(np.abs(demo.gates[name] - 0.5).max() for name in stages.values())
    for axes, name in zip(columns, stages.values(), strict=True):
        for label in range(10):
            mean = demo.gates[name][demo.test.labels == label].mean(axis=0)
            axes.plot(mean, color=LIGHT[DIGITS[label % 5]], linestyle=("solid", "dashed")[label // 5], label=str(label))
        axes.set(
            ylabel=f"{name.removesuffix('.se')}\ngate",
            ylim=(0.5 - largest, 0.5 + largest),
            xlim=(0, demo.gates[name].shape[1] - 1),
        )
    columns[-1].set_xlabel("channel")
    columns[0].legend(frameon=False, ncols=10, loc="lower center", bbox_to_anchor=(0.5, 1.0), title="digit")
    return figure


PLOTS = {
    "samples": Plot(samples, "24 test digits with their labels and the predictions of the three frameworks."),
    "curve": Plot(curve, "The training loss by epoch, and the accuracies on the training and the test images."),
    "differences": Plot(differences, "Histograms of the differences of the logits, one for each framework."),
    "gates": Plot(gates, "The mean gates of the channels for each digit, in the last block of each stage."),
}
"""The figures of the report, by their names in the template."""
