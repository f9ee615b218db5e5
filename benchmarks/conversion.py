"""`python -m benchmarks.conversion`: compares the converter with `cp`, and writes conversion.json and RESULTS.md.

Every step is a separate process, as a user would start it: `cp` and `fsync` of the source, and `se-resnet convert`, in
turn. This program imports nothing large, since the peak memory of a process includes what its parent used at the fork.
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
SCALING_PAIRS = ((".pth", ".safetensors"), (".safetensors", ".weights.h5"))
FILES, SMALL = 100, "se_resnet18"

WRITE_RANDOM = """
import sys
import numpy, se_spec, se_weights
architecture = se_spec.architecture(sys.argv[1])
random = numpy.random.default_rng(0)
weights = {p.name: random.random(p.shape, numpy.float32) + 0.5 for p in se_spec.manifest(architecture)}
for path in sys.argv[2:]:
    se_weights.write(se_weights.Checkpoint(architecture, weights), path)
"""

Process = tuple[float, int]
"""The duration in seconds and the peak memory in bytes of a process."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conversion", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=HERE / "conversion.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder), arguments.rounds)
    arguments.out.write_text(json.dumps(measured, indent=1) + "\n")
    subprocess.run(
        [sys.executable, "-m", "benchmarks.report"], check=True
    )  # in a separate process, since it imports matplotlib


def measure(folder: Path, rounds: int) -> dict[str, Any]:
    sources = {suffix: folder / f"{LARGE}{suffix}" for suffix in SUFFIXES}
    write_random_weights(LARGE, *sources.values())
    safetensors = sources[".safetensors"]
    return {
        "help": repeat(lambda: run(*SE_RESNET, "--help"), rounds),
        "inspect": repeat(lambda: run(*SE_RESNET, "inspect", safetensors), rounds),
        "inspect imports": measure_imports("import se_cli.main, se_cli.commands.inspect"),
        "pairs": [measure_pair(*pair, folder, sources, rounds) for pair in product(SUFFIXES, SUFFIXES)],
        "growth": [point for network in SIZES for point in measure_scaling(network, folder, rounds)],
        "batch": measure_batch(folder),
    }


def write_random_weights(network: str, *paths: Path) -> None:
    """Write files of a network; they are in the page cache afterwards, like files that were just downloaded."""
    subprocess.run([sys.executable, "-c", WRITE_RANDOM, network, *paths], check=True)


def run(*command: str | Path) -> Process:
    """Run a command and measure it; a failure ends the benchmark."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=HERE.parent)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} failed with exit status {process.returncode}")
    return seconds, usage.ru_maxrss * 1024


def repeat(step: Callable[[], Process], rounds: int) -> dict[str, float]:
    """The median duration and the largest peak memory of several runs."""
    runs = [step() for _ in range(rounds)]
    return {"seconds": median(seconds for seconds, _ in runs), "peak": max(peak for _, peak in runs)}


def copy_and_sync(source: Path, target: Path) -> Process:
    """Run `cp`, and `fsync` the copy."""
    began = time.perf_counter()
    _, peak = run("cp", source, target)
    handle = os.open(target, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
    return time.perf_counter() - began, peak


def compare_with_copy(source: Path, target: Path, rounds: int) -> dict[str, float]:
    """Measure a copy and a conversion in turn; the target is removed after each."""
    copies, conversions = [], []
    for _ in range(rounds):
        copies.append(copy_and_sync(source, target))
        target.unlink()
        conversions.append(run(*SE_RESNET, "convert", source, target, "--quiet"))
        target.unlink()
    return {
        "bytes": source.stat().st_size,
        "copy": median(seconds for seconds, _ in copies),
        "seconds": median(seconds for seconds, _ in conversions),
        "peak": max(peak for _, peak in conversions),
    }


def measure_pair(source: str, target: str, folder: Path, sources: dict[str, Path], rounds: int) -> dict[str, Any]:
    """Measure the conversion between two formats, named by their suffixes."""
    log(f"{LARGE}: {source} to {target}")
    measured = compare_with_copy(sources[source], folder / f"target{target}", rounds)
    return {"source": source, "target": target, **measured}


def measure_scaling(network: str, folder: Path, rounds: int) -> Iterator[dict[str, Any]]:
    """Measure the same two conversions for a network of another size."""
    for source_suffix, target_suffix in SCALING_PAIRS:
        log(f"{network}: {source_suffix} to {target_suffix}")
        source = folder / f"scaling{source_suffix}"
        write_random_weights(network, source)
        measured = compare_with_copy(source, folder / f"target{target_suffix}", rounds)
        source.unlink()
        yield {"network": network, "source": source_suffix, "target": target_suffix, **measured}


def measure_batch(folder: Path) -> dict[str, float]:
    """Measure a batch of many small files with one job and with two, in turn, twice."""
    sources = folder / "batch"
    sources.mkdir()
    first = sources / "000.pth"
    write_random_weights(SMALL, first)
    for number in range(1, FILES):
        copy_and_sync(first, sources / f"{number:03d}.pth")
    seconds: dict[str, list[float]] = {"1": [], "2": []}
    for number, jobs in enumerate(("1", "2", "1", "2")):
        log(f"{FILES} files of {SMALL}, {jobs} at a time")
        out = folder / f"converted{number}"
        seconds[jobs].append(run(*SE_RESNET, "convert", "--batch", sources, out, "--jobs", jobs, "--quiet")[0])
        subprocess.run(["rm", "-r", out], check=True)
    return {jobs: median(durations) for jobs, durations in seconds.items()}


def measure_imports(statement: str) -> dict[str, int]:
    """Microseconds that imports take by `python -X importtime`: in total, and for the six slowest packages."""
    process = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", statement], capture_output=True, text=True, check=True
    )
    lines = [line.removeprefix("import time:").split("|") for line in process.stderr.splitlines()[1:]]
    spent: dict[str, int] = {}
    for own, _, name in lines:
        package = name.strip().partition(".")[0]
        spent[package] = spent.get(package, 0) + int(own)
    largest = sorted(spent, key=lambda package: -spent[package])[:6]
    return {"all": sum(spent.values()), **{package: spent[package] for package in largest}}


def log(step: str) -> None:
    print(step, file=sys.stderr)


if __name__ == "__main__":
    main()
