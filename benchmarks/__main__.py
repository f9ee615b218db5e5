"""`python -m benchmarks`: measures the targets, and writes them as JSON, as a page and as a plot."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.measure import measure
from benchmarks.report import Measured, page, plot
from benchmarks.targets import subjects_of
from benchmarks.workload import WORKLOADS

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--workload", action="append", choices=WORKLOADS, help="all of them, unless named")
    parser.add_argument("--only", metavar="SUBJECTS", help="these alone, separated by semicolons")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--python", action="append", default=[], metavar="FRAMEWORK=PATH", help="its interpreter")
    parser.add_argument("--out", type=Path, default=HERE, help="the folder for results.json, RESULTS.md, results.svg")
    asked = parser.parse_args()
    pythons = dict(one.split("=", 1) for one in asked.python)
    times, versions = {}, {}
    for workload in asked.workload or WORKLOADS:
        subjects = asked.only.split(";") if asked.only else subjects_of(workload)
        times[workload], ran = measure(workload, subjects, asked.rounds, pythons, say)
        versions |= ran
    measured = Measured(times, versions, "" if asked.only else agreement(pythons.get("torch", sys.executable)))
    asked.out.mkdir(parents=True, exist_ok=True)
    facts = {name: {subject: one.facts for subject, one in found.items()} for name, found in times.items()}
    (asked.out / "results.json").write_text(json.dumps({"versions": versions, "times": facts}, indent=1) + "\n")
    text = page(measured, (HERE / "notes.md").read_text())
    (asked.out / "RESULTS.md").write_text(text)
    plot(measured, asked.out / "results.svg")
    print(text.partition("## Tried")[0])


def agreement(python: str) -> str:
    command = [python, "-m", "benchmarks.agreement"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def say(step: str) -> None:
    print(step, file=sys.stderr)


if __name__ == "__main__":
    main()
