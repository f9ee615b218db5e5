"""Reads mutated files for a given time, in processes that may crash.

    python -m fuzz.run --seconds 900 --json out.json [--reader NAME ...] [--seed N]

A file shows a bug if reading it raises an error other than a refusal, takes more than 10 s or 500 MB, or ends the
process; it is then kept in fuzz/found/, and the exit status is 1. The program that lists HDF5 files
(se_weights/files/hdf5/listing_program.py) is forked instead of started, which is much faster; it keeps its limits, and
if it dies, the file is refused, as it is for a user. For one file in a thousand it is started.
"""

import argparse
import json
import mmap
import os
import platform
import resource
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from fuzz.mutations import mutate_sample
from fuzz.seeds import SEEDS, Sample, seeds
from fuzz.trial import ACCEPTED, FOUND_FOLDER, MAX_BYTES, MAX_SECONDS, read_file
from se_weights.files.processes import sandbox

BATCH = 200
"""Number of files that one process reads."""

KILL_SECONDS, DATA_LIMIT = 1.5 * MAX_SECONDS, 3 * 2**30
"""Seconds and bytes after which a process is stopped: enough to see that a file exceeds its limits."""

HDF5_READERS = ("hdf5", "keras2", "keras")
RECOGNISE_EVERY, START_EVERY, LOAD_EVERY = 16, 1000, 40
"""One file in so many is also recognised; has its HDF5 listing program started; has its tensors loaded, for Orbax."""

MAX_KEPT = 3
"""Number of files that are kept for one fault."""


@dataclass
class Tally:
    """Outcomes of the files of one reader.

    Attributes:
        inputs: Number of files.
        accepted: Number of files that were read.
        refused: Number of files by refusal id.
        crashes: Number of files with another error, or that ended the process.
        hangs: Number of files that took too long.
        too_large: Number of files that took too much memory.
        slowest: Longest time of a file, in seconds.
        peak: Largest memory of a file, in bytes.
        died: Ends of the HDF5 listing program by their reason; for a user they are refusals.
        faults: Number of files by fault.
    """

    inputs: int = 0
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    crashes: int = 0
    hangs: int = 0
    too_large: int = 0
    slowest: float = 0.0
    peak: int = 0
    died: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def add(self, report: dict[str, Any]) -> None:
        """Count the report on one file."""
        self.inputs += 1
        if report["error"]:
            self.crashes += 1
        elif report["outcome"] == ACCEPTED:
            self.accepted += 1
        else:
            self.refused[report["outcome"]] += 1
        self.hangs += report["seconds"] > MAX_SECONDS
        self.too_large += report["bytes"] > MAX_BYTES
        self.slowest = max(self.slowest, report["seconds"])
        self.peak = max(self.peak, report["bytes"])
        self.died.update(report["died"])


@dataclass(frozen=True)
class Campaign:
    """Mutated files of one reader, reproducible by their numbers.

    Attributes:
        reader: Name of the reader in SEEDS.
        seed: Seed of the random numbers.
        samples: Valid files, which are mutated.
    """

    reader: str
    seed: int
    samples: Sequence[Sample]

    def sample(self, number: int) -> Sample:
        """The mutated file of this number."""
        random = Random(f"{self.reader} {self.seed} {number}")
        return mutate_sample(random.choice(self.samples), random)

    def run(self, seconds: float) -> Tally:
        """Read files for this many seconds, and keep those that show a bug."""
        tally, number, end = Tally(), 0, time.monotonic() + seconds
        while time.monotonic() < end:
            for report in self._batch(range(number, number + BATCH), end):
                tally.add(report)
                number = report["number"] + 1
                if fault := _fault(report):
                    self._keep(report, fault, tally)
        return tally

    def _batch(self, numbers: range, end: float) -> Iterator[dict[str, Any]]:
        """Reports on each file, made in a forked process; where that dies, the last one is made here."""
        with tempfile.TemporaryDirectory(dir=_memory_folder()) as folder, mmap.mmap(-1, 16) as here:
            reports = Path(folder, "reports")
            reports.touch()
            here[:] = struct.pack("qd", numbers[0], time.monotonic())
            process = os.fork()
            if not process:
                self._child(numbers, end, Path(folder), here)
            status = None
            while status is None:
                done, ended = os.waitpid(process, os.WNOHANG)
                status = ended if done else None
                if status is None and time.monotonic() - struct.unpack("qd", here)[1] > KILL_SECONDS:
                    os.kill(process, signal.SIGKILL)
                time.sleep(0.01)
            yield from map(json.loads, reports.read_text().splitlines())
            if status:
                number, begin = struct.unpack("qd", here)
                seconds = time.monotonic() - begin
                error = "" if seconds > KILL_SECONDS else f"the process ended with {os.waitstatus_to_exitcode(status)}"
                outcome = "none" if seconds > KILL_SECONDS else ""
                yield _report(number, seconds, 0, outcome=outcome, error=error)

    def _child(self, numbers: range, end: float, folder: Path, here: mmap.mmap) -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (DATA_LIMIT, DATA_LIMIT))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with (folder / "reports").open("w", buffering=1) as reports:
            for number in numbers:
                sample = self.sample(number)
                inner = Path(tempfile.mkdtemp(dir=folder))
                here[:] = struct.pack("qd", number, time.monotonic())
                print(json.dumps(self._read(number, sample.write(inner))), file=reports)
                here[8:] = struct.pack("d", time.monotonic())
                _remove(inner)
                if time.monotonic() > end:
                    break
        os._exit(0)

    def _read(self, number: int, path: Path) -> dict[str, Any]:
        forked = ForkedSubprocess()
        before, begin = _reset_peak(), time.monotonic()
        outcome, error = "", ""
        load = self.reader != "orbax" or number % LOAD_EVERY == 0
        fork = self.reader in HDF5_READERS and number % START_EVERY
        try:
            with mock.patch.object(sandbox, "start", forked.start if fork else sandbox.start):
                outcome = read_file(path, recognise=load and number % RECOGNISE_EVERY == 0, load=load)
        except BaseException:
            error = traceback.format_exc()
        peak = max(_peak() - before, forked.peak)
        return _report(number, time.monotonic() - begin, peak, outcome=outcome, error=error, died=forked.died)

    def _keep(self, report: dict[str, Any], fault: str, tally: Tally) -> None:
        tally.faults[fault] += 1
        if tally.faults[fault] > MAX_KEPT:
            return
        folder = FOUND_FOLDER / f"{self.reader}-{self.seed}-{report['number']}"
        folder.mkdir(parents=True, exist_ok=True)
        self.sample(report["number"]).write(folder)
        (folder / "report.txt").write_text(f"{fault}\n\n{report['error']}\n{report}\n")


class ForkedSubprocess:
    """Replaces the processes that the sandbox starts by forks of this one, with the same limits.

    Attributes:
        died: Why the program died, each time that it did.
        peak: Its largest memory, in bytes.
    """

    def __init__(self) -> None:
        self.died: list[str] = []
        self.peak = 0

    def start(self, program: Path, message: str, seconds: float) -> subprocess.CompletedProcess[bytes]:
        """Replaces `se_weights.files.processes.sandbox.start`."""
        with tempfile.TemporaryFile(dir=_memory_folder()) as out, tempfile.TemporaryFile(dir=_memory_folder()) as err:
            before = _memory_status("VmRSS")
            process = os.fork()
            if not process:
                _run_program(program, message, out.fileno(), err.fileno())
            handle = os.pidfd_open(process)
            ready, _, _ = select.select([handle], [], [], seconds)
            os.close(handle)
            if not ready:
                os.kill(process, signal.SIGKILL)
            _, status, usage = os.wait4(process, 0)
            self.peak = max(self.peak, usage.ru_maxrss * 1024 - before)
            if not ready:
                self.died.append("time")
                raise subprocess.TimeoutExpired(str(program), seconds)
            code = os.waitstatus_to_exitcode(status)
            out.seek(0)
            err.seek(0)
            errors = err.read()
            if code:
                last = errors.decode(errors="replace").strip().splitlines()[-1:] or [f"status {code}"]
                self.died.append(signal.Signals(-code).name if code < 0 else last[0].partition(":")[0])
            return subprocess.CompletedProcess([], code, out.read(), errors)


def _run_program(program: Path, message: str, out: int, err: int) -> None:
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        print(sandbox.main(str(program), message), flush=True)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _report(number: int, seconds: float, size: int, **more: Any) -> dict[str, Any]:
    return {"number": number, "seconds": seconds, "bytes": size, "outcome": "", "error": "", "died": [], **more}


def _fault(report: dict[str, Any]) -> str:
    """A line that describes the fault, and is the same for the same fault; "" where there is none."""
    if report["error"]:
        lines = report["error"].strip().splitlines()
        ours = [line.strip() for line in lines if "/se_" in line]
        return f"{lines[-1].partition(':')[0]} {ours[-1].rpartition('/')[2] if ours else ''}"
    if report["seconds"] > MAX_SECONDS:
        return "it takes too long"
    return "it takes too much memory" if report["bytes"] > MAX_BYTES else ""


def _memory_folder() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def _reset_peak() -> int:
    """Reset the peak memory of this process to its current memory; return that, in bytes."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    return _memory_status("VmHWM")


def _memory_status(field: str) -> int:
    """A field of /proc/self/status, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def table(tallies: dict[str, Tally]) -> str:
    """The tallies in Markdown."""
    columns = "reader", "inputs", "accepted", "refused", "crashes", "hangs", "over 500 MB", "worst time", "peak memory"
    rows = [columns, ("---", *["---:"] * (len(columns) - 1))]
    for reader, tally in tallies.items():
        counts = tally.inputs, tally.accepted, tally.refused.total(), tally.crashes, tally.hangs, tally.too_large
        rows.append(
            (reader, *(f"{count:,}" for count in counts), f"{tally.slowest:.2f} s", f"{tally.peak / 2**20:.0f} MB")
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> int:
    """Run the campaign from the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="for all readers together")
    parser.add_argument("--json", type=Path, help="file that the numbers are written to")
    parser.add_argument("--reader", action="append", choices=list(SEEDS), help="only these")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    readers = options.reader or list(SEEDS)
    tallies = {}
    for reader in readers:
        with ProcessPoolExecutor(
            1, mp_context=get_context("spawn")
        ) as pool:  # torch, which writes some, is imported only there
            samples = pool.submit(seeds, reader).result()
        tallies[reader] = Campaign(reader, options.seed, samples).run(options.seconds / len(readers))
        print(reader, vars(tallies[reader]), file=sys.stderr, flush=True)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        header = {"command": sys.argv[1:], "date": time.strftime("%F"), "python": platform.python_version()}
        options.json.write_text(
            json.dumps({**header, "readers": {reader: vars(tally) for reader, tally in tallies.items()}}, indent=2)
        )
    print(table(tallies))
    return int(any(tally.crashes or tally.hangs or tally.too_large for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
