"""`python -m benchmarks`: measures the models, and writes that as JSON, as a page and as a plot."""

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.measure import measure
from benchmarks.report import Measured, write
from benchmarks.targets import subjects_of
from benchmarks.workload import WORKLOADS

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--workload", action="append", choices=WORKLOADS, help="all of them, unless named")
    parser.add_argument("--only", metavar="SUBJECTS", help="these alone, separated by semicolons")
    parser.add_argument("--rounds", type=int, help="of every workload, instead of its own number")
    parser.add_argument("--python", action="append", default=[], metavar="FRAMEWORK=PATH", help="its interpreter")
    parser.add_argument("--out", type=Path, default=HERE, help="the folder for results.json, RESULTS.md, results.svg")
    arguments = parser.parse_args()
    pythons = dict(one.split("=", 1) for one in arguments.python)
    arguments.out.mkdir(parents=True, exist_ok=True)
    measured = Measured({}, {})
    for workload in arguments.workload or WORKLOADS:
        subjects = arguments.only.split(";") if arguments.only else subjects_of(workload)
        times, versions = measure(workload, subjects, arguments.rounds or WORKLOADS[workload].rounds, pythons, say)
        measured = measured.with_workload(workload, times, versions)
        keep(measured, arguments.out)  # whatever becomes of the rest
    if not arguments.only:
        keep(replace(measured, agreement=agreement(pythons.get("torch", sys.executable))), arguments.out)


def keep(measured: Measured, folder: Path) -> None:
    (folder / "results.json").write_text(json.dumps(measured.to_dict(), indent=1) + "\n")
    write(folder)


def agreement(python: str) -> str:
    command = [python, "-m", "benchmarks.agreement"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def say(step: str) -> None:
    print(step, file=sys.stderr)


if __name__ == "__main__":
    main()
