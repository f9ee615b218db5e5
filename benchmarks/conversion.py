"""`python -m benchmarks.conversion`: the converter beside `cp`, as JSON; `benchmarks/RESULTS.md` is then written anew.

Every step is a process of its own, as a user starts it: `cp` and `fsync` of the source, and `se-resnet convert`, in
turn. This program imports nothing large: the memory of a process counts from what the one that started it had.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
SE_RESNET = [sys.executable, "-m", "se_cli"]

SUFFIXES = (".pth", ".safetensors", ".weights.h5", ".msgpack", ".npz")
LARGE = "se_resnet152"
SIZES = ("se_resnet18", "se_resnet34", "se_resnet50", "se_resnet101", "se_resnet152", "senet154")
GROWING = ((".pth", ".safetensors"), (".safetensors", ".weights.h5"))
FILES, SMALL = 100, "se_resnet18"

MAKE = """
import sys
import numpy, se_spec, se_weights
architecture = se_spec.architecture(sys.argv[1])
random = numpy.random.default_rng(0)
weights = {p.name: random.random(p.shape, numpy.float32) + 0.5 for p in se_spec.manifest(architecture)}
for path in sys.argv[2:]:
    se_weights.write(se_weights.Checkpoint(architecture, weights), path)
"""

Process = tuple[float, int]
"""Seconds and bytes of memory at the peak."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conversion", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=HERE / "conversion.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder), arguments.rounds)
    arguments.out.write_text(json.dumps(measured, indent=1) + "\n")
    subprocess.run([sys.executable, "-m", "benchmarks.report"], check=True)  # which draws, and so is large


def measure(folder: Path, rounds: int) -> dict[str, Any]:
    sources = {suffix: folder / f"{LARGE}{suffix}" for suffix in SUFFIXES}
    made(LARGE, *sources.values())
    safetensors = sources[".safetensors"]
    return {
        "help": repeated(lambda: run(*SE_RESNET, "--help"), rounds),
        "inspect": repeated(lambda: run(*SE_RESNET, "inspect", safetensors), rounds),
        "inspect imports": imports("import se_cli.main, se_cli.inspect"),
        "pairs": [pair(*one, folder, sources, rounds) for one in product(SUFFIXES, SUFFIXES)],
        "growth": [one for network in SIZES for one in growth(network, folder, rounds)],
        "batch": batch(folder),
    }


def made(network: str, *paths: Path) -> None:
    """Files of a network, which fill the page cache like files that were just downloaded."""
    subprocess.run([sys.executable, "-c", MAKE, network, *paths], check=True)


def run(*command: str | Path) -> Process:
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=HERE.parent)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return seconds, usage.ru_maxrss * 1024


def repeated(step: Callable[[], Process], rounds: int) -> dict[str, float]:
    steps = [step() for _ in range(rounds)]
    return {"seconds": median(seconds for seconds, _ in steps), "peak": max(peak for _, peak in steps)}


def copied(source: Path, target: Path) -> Process:
    began = time.perf_counter()
    _, peak = run("cp", source, target)
    handle = os.open(target, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
    return time.perf_counter() - began, peak


def in_turn(source: Path, target: Path, rounds: int) -> dict[str, float]:
    """A copy and a conversion, in turn, each to a name that is free."""
    copies, conversions = [], []
    for _ in range(rounds):
        copies.append(copied(source, target))
        target.unlink()
        conversions.append(run(*SE_RESNET, "convert", source, target, "--quiet"))
        target.unlink()
    return {
        "bytes": source.stat().st_size,
        "copy": median(seconds for seconds, _ in copies),
        "seconds": median(seconds for seconds, _ in conversions),
        "peak": max(peak for _, peak in conversions),
    }


def pair(one: str, other: str, folder: Path, sources: dict[str, Path], rounds: int) -> dict[str, Any]:
    say(f"{LARGE}: {one} to {other}")
    return {"source": one, "target": other, **in_turn(sources[one], folder / f"target{other}", rounds)}


def growth(network: str, folder: Path, rounds: int) -> Iterator[dict[str, Any]]:
    """The same conversions of smaller and larger networks."""
    for one, other in GROWING:
        say(f"{network}: {one} to {other}")
        source = folder / f"growing{one}"
        made(network, source)
        taken = in_turn(source, folder / f"target{other}", rounds)
        source.unlink()
        yield {"network": network, "source": one, "target": other, **taken}


def batch(folder: Path) -> dict[str, float]:
    """Seconds for many small files with one job and with two, in turn, twice."""
    sources = folder / "batch"
    sources.mkdir()
    first = sources / "000.pth"
    made(SMALL, first)
    for number in range(1, FILES):
        copied(first, sources / f"{number:03d}.pth")
    seconds: dict[str, list[float]] = {"1": [], "2": []}
    for number, jobs in enumerate(("1", "2", "1", "2")):
        say(f"{FILES} files of {SMALL}, {jobs} at a time")
        out = folder / f"converted{number}"
        seconds[jobs].append(run(*SE_RESNET, "convert", "--batch", sources, out, "--jobs", jobs, "--quiet")[0])
        subprocess.run(["rm", "-r", out], check=True)
    return {jobs: median(taken) for jobs, taken in seconds.items()}


def imports(statement: str) -> dict[str, int]:
    """Microseconds that imports take, by `python -X importtime`: all of them, and those of the largest packages."""
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", statement], capture_output=True, text=True, check=True
    )
    lines = [line.removeprefix("import time:").split("|") for line in told.stderr.splitlines()[1:]]
    spent: dict[str, int] = {}
    for own, _, name in lines:
        package = name.strip().partition(".")[0]
        spent[package] = spent.get(package, 0) + int(own)
    largest = sorted(spent, key=lambda package: -spent[package])[:6]
    return {"all": sum(spent.values()), **{package: spent[package] for package in largest}}


def say(step: str) -> None:
    print(step, file=sys.stderr)


if __name__ == "__main__":
    main()
