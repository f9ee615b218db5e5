"""The section of RESULTS.md about the converter, and its plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tables import pyplot, table, verdict

START, INSPECT, SPEED_UP = 0.25, 0.6, 1.7
"""Targets: seconds of `--help`, seconds of `inspect`, speed-up of a batch by two jobs instead of one."""

MB = 1e6


def seconds_allowed(pair: Mapping[str, Any]) -> float:
    """The target: four times `cp` and `fsync`, and the start of Python."""
    return 4 * pair["copy"] + 0.6


def memory_allowed(pair: Mapping[str, Any]) -> float:
    """The target: bytes of peak memory."""
    return 1.3 * pair["bytes"] + 120 * MB


def conversion_section(measured: Mapping[str, Any]) -> str:
    """The section in Markdown, from the content of conversion.json."""
    slowest = max(measured["pairs"], key=lambda pair: pair["seconds"] / seconds_allowed(pair))
    largest = max(measured["pairs"], key=lambda pair: pair["peak"] / memory_allowed(pair))
    met = sum(pair["seconds"] <= seconds_allowed(pair) for pair in measured["pairs"])
    start, inspect, batch = measured["help"]["seconds"], measured["inspect"]["seconds"], measured["batch"]
    speed_up = batch["1"] / batch["2"]
    deviation = max(abs(line.deviations).max() for line in lines_of(measured))
    rows = [
        ["`se-resnet --help`", f"{start:.2f} s", f"{START:.2f} s", verdict(start <= START)],
        [
            "`inspect`, SE-ResNet-152, `.safetensors`",
            f"{inspect:.2f} s",
            f"{INSPECT:.2f} s",
            verdict(inspect <= INSPECT),
        ],
        [
            "all pairs of formats, SE-ResNet-152: time",
            f"{met} of {len(measured['pairs'])} pairs; the slowest, {_name(slowest)}, {slowest['seconds']:.2f} s",
            f"4 times `cp` + `fsync`, and 0.6 s: {seconds_allowed(slowest):.2f} s",
            verdict(met == len(measured["pairs"])),
        ],
        [
            "peak memory",
            f"{largest['peak'] / MB:.0f} MB ({_name(largest)})",
            f"1.3 times the file, and 120 MB: {memory_allowed(largest) / MB:.0f} MB",
            verdict(largest["peak"] <= memory_allowed(largest)),
        ],
        ["time by file size, SE-ResNet-18 to SENet-154", f"within {deviation:.0%} of a line", "linear", "plot"],
        [
            "100 files of SE-ResNet-18, two jobs instead of one",
            f"{speed_up:.2f} times as fast ({batch['1']:.1f} s, {batch['2']:.1f} s)",
            f"{SPEED_UP}",
            verdict(speed_up >= SPEED_UP),
        ],
    ]
    imported = measured["inspect imports"]
    packages = ", ".join(f"{name} {spent / 1e3:.0f}" for name, spent in imported.items() if name != "all")
    parts = [
        "## Conversion: targets",
        table(["", "measured", "target", ""], rows),
        f"`python -X importtime` of `inspect`: {imported['all'] / 1e3:.0f} ms, of which {packages} ms.",
        "## Conversion: times",
        "Seconds of `se-resnet convert` for SE-ResNet-152 (267 MB), including reading the result back, and in "
        "parentheses the ratio to the target. Rows are sources, columns targets; copy and conversion ran in turn.",
        _matrix(measured["pairs"]),
        "![time by file size](conversion.svg)",
    ]
    return "\n\n".join(parts)


def _name(pair: Mapping[str, Any]) -> str:
    return f"`{pair['source']}` to `{pair['target']}`"


def _matrix(pairs: Sequence[Mapping[str, Any]]) -> str:
    suffixes = list(dict.fromkeys(pair["source"] for pair in pairs))
    cells = {
        (pair["source"], pair["target"]): f"{pair['seconds']:.2f} ({pair['seconds'] / seconds_allowed(pair):.2f})"
        for pair in pairs
    }
    copies = {pair["source"]: f"{pair['copy']:.2f}" for pair in pairs}
    rows = [[f"`{source}`", copies[source], *(cells[source, target] for target in suffixes)] for source in suffixes]
    return table(["", "`cp` + `fsync`", *(f"`{suffix}`" for suffix in suffixes)], rows)


class Line:
    """The durations of conversions between two formats by file size, and a line fitted to them."""

    def __init__(self, name: str, points: Sequence[Mapping[str, Any]]) -> None:
        self.name = name
        self.networks = [point["network"] for point in points]
        self.megabytes = np.array([point["bytes"] / MB for point in points])
        self.seconds = np.array([point["seconds"] for point in points])
        self.slope, self.start = np.polyfit(self.megabytes, self.seconds, 1)

    @property
    def deviations(self) -> np.ndarray:
        """Relative differences of the durations from the line."""
        return self.seconds / (self.start + self.slope * self.megabytes) - 1


def lines_of(measured: Mapping[str, Any]) -> list[Line]:
    names = dict.fromkeys(_name(point) for point in measured["growth"])
    return [Line(name, [point for point in measured["growth"] if _name(point) == name]) for name in names]


def plot_scaling(measured: Mapping[str, Any], path: Path) -> None:
    """Plot the duration of conversions by file size."""
    figure, axes = pyplot().subplots(figsize=(7, 4))
    for colour, line in zip(("#357", "#c64"), lines_of(measured), strict=True):
        axes.plot(line.megabytes, line.seconds, "o", color=colour)
        ends = np.array([0, line.megabytes.max()])
        label = f"{line.name.replace('`', '')}: {line.start:.2f} s + {line.slope * 1e3:.1f} ms/MB"
        axes.plot(ends, line.start + line.slope * ends, color=colour, linewidth=1, label=label)
    for network, megabytes, seconds in zip(line.networks, line.megabytes, line.seconds, strict=True):
        axes.annotate(network, (megabytes, seconds), textcoords="offset points", xytext=(-4, 8), ha="right", fontsize=8)
    axes.set_xlabel("MB")
    axes.set_ylabel("seconds")
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
