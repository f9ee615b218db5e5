"""`python -m benchmarks`: measures the models, and writes results.json, RESULTS.md and results.svg."""

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.measure import measure
from benchmarks.report import Measured, write_report
from benchmarks.targets import subjects_of
from benchmarks.workload import WORKLOADS

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--workload", action="append", choices=WORKLOADS, help="may be repeated; every workload by default"
    )
    parser.add_argument("--only", metavar="SUBJECTS", help="run only these, separated by semicolons")
    parser.add_argument("--rounds", type=int, help="the number of rounds of every workload")
    parser.add_argument(
        "--python", action="append", default=[], metavar="FRAMEWORK=PATH", help="the interpreter to use"
    )
    parser.add_argument("--out", type=Path, default=HERE, help="the folder for results.json, RESULTS.md, results.svg")
    arguments = parser.parse_args()
    pythons = dict(pair.split("=", 1) for pair in arguments.python)
    arguments.out.mkdir(parents=True, exist_ok=True)
    measured = Measured({}, {})
    for workload in arguments.workload or WORKLOADS:
        subjects = arguments.only.split(";") if arguments.only else subjects_of(workload)
        times, versions = measure(workload, subjects, arguments.rounds or WORKLOADS[workload].rounds, pythons, log)
        measured = measured.with_workload(workload, times, versions)
        save(measured, arguments.out)  # now, in case a later workload fails
    if not arguments.only:
        save(replace(measured, agreement=measure_agreement(pythons.get("torch", sys.executable))), arguments.out)


def save(measured: Measured, folder: Path) -> None:
    """Write results.json, and RESULTS.md and its plots from it."""
    (folder / "results.json").write_text(json.dumps(measured.to_dict(), indent=1) + "\n")
    write_report(folder)


def measure_agreement(python: str) -> str:
    """The sentence that `benchmarks.agreement` prints, run under an interpreter with torch."""
    command = [python, "-m", "benchmarks.agreement"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def log(step: str) -> None:
    print(step, file=sys.stderr)


if __name__ == "__main__":
    main()
