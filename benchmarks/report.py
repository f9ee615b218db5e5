"""What was measured, as a page and as plots: `python -m benchmarks.report` writes them anew from the JSON."""

import json
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.conversion_report import conversion_section, plot_growth
from benchmarks.measure import Times
from benchmarks.tables import pyplot, table, verdict
from benchmarks.targets import TARGETS, Target
from benchmarks.workload import THREADS, WORKLOADS

HERE = Path(__file__).parent

MATMUL = 2 * 2048**3
"""Operations of the product that shows what the machine can do."""


@dataclass(frozen=True)
class Measured:
    """The times of each subject of each workload, and what ran."""

    times: Mapping[str, Mapping[str, Times]]
    versions: Mapping[str, str]
    agreement: str = ""

    def with_workload(self, name: str, times: Mapping[str, Times], versions: Mapping[str, str]) -> "Measured":
        return replace(self, times={**self.times, name: times}, versions={**self.versions, **versions})

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "Measured":
        times = {
            name: {subject: Times(one["first"], one["steps"], one["others"]) for subject, one in found.items()}
            for name, found in facts["times"].items()
        }
        return cls(times, facts["versions"], facts["agreement"])

    def to_dict(self) -> dict[str, Any]:
        times = {name: {subject: one.to_dict() for subject, one in found.items()} for name, found in self.times.items()}
        return {"versions": dict(self.versions), "agreement": self.agreement, "times": times}

    @property
    def targets(self) -> list[Target]:
        """Those whose subjects were all measured."""
        return [
            target
            for target in TARGETS
            if target.workload in self.times and {target.subject, *target.peers} <= set(self.times[target.workload])
        ]

    def ratio(self, target: Target) -> float:
        return target.ratio(self.times[target.workload])


def write(folder: Path = HERE) -> None:
    """RESULTS.md and its plots, from what both programs have measured."""
    measured = Measured.of(json.loads((folder / "results.json").read_text()))
    converted = folder / "conversion.json"
    conversion = json.loads(converted.read_text()) if converted.exists() else None
    notes = (HERE / "notes.md").read_text()
    (folder / "RESULTS.md").write_text(page(measured, conversion, notes))
    plot(measured, folder / "results.svg")
    if conversion:
        plot_growth(conversion, folder / "conversion.svg")


def page(measured: Measured, conversion: Mapping[str, Any] | None, notes: str) -> str:
    """RESULTS.md."""
    parts = [
        "# Speed, measured",
        "Written by `python -m benchmarks` and `python -m benchmarks.conversion` (`make bench` runs both). Ratios of "
        "medians; the subjects of a workload ran in turn, "
        "one step each, so that what slowed the machine slowed them all. "
        "A step during which other processes took more than a tenth of the "
        "processors was run again once, and the less disturbed one counts; the last column says how much they took.",
        _machine(measured),
        "## Models: targets",
        "![ratios and targets](results.svg)",
        table(["workload", "", "beside", "ratio", "target", ""], [_target(measured, one) for one in measured.targets]),
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
    found = re.search(r"model name\s*: (.*)", file.read_text()) if file.exists() else None
    return found[1] if found else platform.processor()


def _target(measured: Measured, target: Target) -> list[str]:
    ratio = measured.ratio(target)
    peer = min(target.peers, key=lambda peer: measured.times[target.workload][peer].median)
    said = [f"{ratio:.2f}", f"{target.limit:.2f}", verdict(ratio <= target.limit)]
    return [target.workload, target.subject, peer, *said]


def _times(name: str, times: Mapping[str, Times]) -> str:
    workload = WORKLOADS[name]
    rows = [
        [
            subject,
            f"{one.median * 1e3:.0f} ms",
            f"{one.spread:.0%}",
            f"{min(one.steps) * 1e3:.0f} ms",
            f"{one.first:.1f} s",
            f"{median(one.others):.0%}",
        ]
        for subject, one in times.items()
    ]
    head = ["", "median", "spread", "least", "first step", "others"]
    return f"**{name}**: {workload.network}, {workload.images}\n\n{table(head, rows)}"


def plot(measured: Measured, path: Path) -> None:
    """A bar a target, as long as the ratio, with the target as a mark on it."""
    targets = measured.targets[::-1]
    labels = [f"{target.workload}: {target.subject} beside {' or '.join(target.peers)}" for target in targets]
    ratios, limits = [measured.ratio(target) for target in targets], [target.limit for target in targets]
    colours = ["#4a7" if ratio <= limit else "#c64" for ratio, limit in zip(ratios, limits, strict=True)]
    figure, axes = pyplot().subplots(figsize=(11, 0.27 * len(targets) + 1))
    axes.barh(labels, ratios, color=colours, height=0.7)
    axes.plot(limits, labels, "k|", markersize=10, label="target")
    axes.margins(y=0.01)
    axes.set_xlabel("time, as a share of the peer's")
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")


if __name__ == "__main__":
    write()
