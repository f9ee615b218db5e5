"""Writes RESULTS.md and its plots from results.json and conversion.json: `python -m benchmarks.report`."""

import json
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.conversion_report import conversion_section, plot_scaling
from benchmarks.measure import Times
from benchmarks.tables import pyplot, table, verdict
from benchmarks.targets import TARGETS, Target
from benchmarks.workload import THREADS, WORKLOADS

HERE = Path(__file__).parent

MATMUL = 2 * 2048**3
"""Floating-point operations of the matrix product that shows the peak speed of the machine."""


@dataclass(frozen=True)
class Measured:
    """The measured durations.

    Attributes:
        times: The durations by workload and subject.
        versions: The versions of the libraries.
        agreement: How often bfloat16 predicts the same class as float32, as a sentence.
    """

    times: Mapping[str, Mapping[str, Times]]
    versions: Mapping[str, str]
    agreement: str = ""

    def with_workload(self, name: str, times: Mapping[str, Times], versions: Mapping[str, str]) -> "Measured":
        """A copy with one more workload."""
        return replace(self, times={**self.times, name: times}, versions={**self.versions, **versions})

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Measured":
        """Read the content of results.json."""
        times = {
            workload: {name: Times(entry["first"], entry["steps"], entry["others"]) for name, entry in subjects.items()}
            for workload, subjects in document["times"].items()
        }
        return cls(times, document["versions"], document["agreement"])

    def to_dict(self) -> dict[str, Any]:
        """The content of results.json."""
        times = {
            workload: {name: subject_times.to_dict() for name, subject_times in subjects.items()}
            for workload, subjects in self.times.items()
        }
        return {"versions": dict(self.versions), "agreement": self.agreement, "times": times}

    @property
    def targets(self) -> list[Target]:
        """The targets whose subjects were all measured."""
        return [
            target
            for target in TARGETS
            if target.workload in self.times and {target.subject, *target.peers} <= set(self.times[target.workload])
        ]

    def ratio(self, target: Target) -> float:
        """The measured ratio of a target."""
        return target.ratio(self.times[target.workload])


def write_report(folder: Path = HERE) -> None:
    """Write RESULTS.md and its plots from the JSON files in a folder."""
    measured = Measured.from_dict(json.loads((folder / "results.json").read_text()))
    conversion_path = folder / "conversion.json"
    conversion = json.loads(conversion_path.read_text()) if conversion_path.exists() else None
    notes = (HERE / "notes.md").read_text()
    (folder / "RESULTS.md").write_text(results_page(measured, conversion, notes))
    plot_ratios(measured, folder / "results.svg")
    if conversion:
        plot_scaling(conversion, folder / "conversion.svg")


def results_page(measured: Measured, conversion: Mapping[str, Any] | None, notes: str) -> str:
    """The text of RESULTS.md."""
    parts = [
        "# Speed, measured",
        "Written by `python -m benchmarks` and `python -m benchmarks.conversion` (`make bench` runs both). The ratios "
        "are ratios of medians. The subjects of a workload took turns, one step each, so that anything that slowed the "
        "machine slowed all of them alike. A step during which other processes used more than a tenth of the CPUs was "
        'repeated once, and the less disturbed one counts; the column "others" is the share that they used.',
        _machine(measured),
        "## Models: targets",
        "![ratios and targets](results.svg)",
        table(
            ["workload", "", "compared with", "ratio", "target", ""], [_target(measured, t) for t in measured.targets]
        ),
        measured.agreement,
        "## Models: times",
        *(_times(name, times) for name, times in measured.times.items()),
        conversion_section(conversion) if conversion else "",
        notes,
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _machine(measured: Measured) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in sorted(measured.versions.items()))
    ceilings = [MATMUL / times["matmul"].median / 1e9 for times in measured.times.values() if "matmul" in times]
    ceiling = f"; a float32 product of 2048 x 2048 ran at {median(ceilings):.0f} GFLOP/s" if ceilings else ""
    return f"{_processor()}, {THREADS} threads{ceiling}. {versions}."


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    match = re.search(r"model name\s*: (.*)", file.read_text()) if file.exists() else None
    return match[1] if match else platform.processor()


def _target(measured: Measured, target: Target) -> list[str]:
    ratio = measured.ratio(target)
    peer = min(target.peers, key=lambda peer: measured.times[target.workload][peer].median)
    cells = [f"{ratio:.2f}", f"{target.limit:.2f}", verdict(ratio <= target.limit)]
    return [target.workload, target.subject, peer, *cells]


def _times(name: str, times: Mapping[str, Times]) -> str:
    workload = WORKLOADS[name]
    rows = [
        [
            subject,
            f"{subject_times.median * 1e3:.0f} ms",
            f"{subject_times.spread:.0%}",
            f"{min(subject_times.steps) * 1e3:.0f} ms",
            f"{subject_times.first:.1f} s",
            f"{median(subject_times.others):.0%}",
        ]
        for subject, subject_times in times.items()
    ]
    head = ["", "median", "spread", "fastest", "first step", "others"]
    return f"**{name}**: {workload.network}, {workload.images}\n\n{table(head, rows)}"


def plot_ratios(measured: Measured, path: Path) -> None:
    """Plot one bar for each target: its length is the measured ratio, and a mark shows the target."""
    targets = measured.targets[::-1]
    labels = [f"{target.workload}: {target.subject} compared with {' or '.join(target.peers)}" for target in targets]
    ratios, limits = [measured.ratio(target) for target in targets], [target.limit for target in targets]
    colours = ["#4a7" if ratio <= limit else "#c64" for ratio, limit in zip(ratios, limits, strict=True)]
    figure, axes = pyplot().subplots(figsize=(11, 0.27 * len(targets) + 1))
    axes.barh(labels, ratios, color=colours, height=0.7)
    axes.plot(limits, labels, "k|", markersize=10, label="target")
    axes.margins(y=0.01)
    axes.set_xlabel("time / time of the peer")
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")


if __name__ == "__main__":
    write_report()
