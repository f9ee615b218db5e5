"""A campaign: damaged files, as many as a time allows, each read and judged in a process that may die of it.

    python -m fuzz.run --seconds 900 --json out.json [--reader NAME ...] [--seed N]

Something is wrong where an error escapes that is none of ours, where a file takes more than 10 s or 500 MB, and where
the process dies; the file is then kept under fuzz/found/, and the status is 1. The program that lists HDF5 files
(se_weights/files/hdf5/listing_program.py) is forked, not started, so that thousands can be tried; it keeps its limits,
and its death is a refusal, as it is for a user. For one file in a thousand it is started.
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

from fuzz.mutations import mutated
from fuzz.seeds import SEEDS, Sample, seeds
from fuzz.trial import ACCEPTED, BYTES, FOUND, SECONDS, tried
from se_weights.files import sandbox

BATCH = 200
"""Files that one process reads."""

PATIENCE, ROOM = 1.5 * SECONDS, 3 * 2**30
"""Seconds and bytes after which a process is stopped: enough to see that a limit was passed."""

IN_HDF5 = ("hdf5", "keras2", "keras")
WHOLE, STARTED, LOADED = 16, 1000, 40
"""One file in so many is recognised too; is listed by a program that is started; is loaded, where that is Orbax's."""

KEPT = 3
"""Files that are kept of one fault."""


@dataclass
class Tally:
    """What became of the files of one reader; `died` are ends of the HDF5 program, which are refusals to a user."""

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
        self.inputs += 1
        if report["error"]:
            self.crashes += 1
        elif report["outcome"] == ACCEPTED:
            self.accepted += 1
        else:
            self.refused[report["outcome"]] += 1
        self.hangs += report["seconds"] > SECONDS
        self.too_large += report["bytes"] > BYTES
        self.slowest = max(self.slowest, report["seconds"])
        self.peak = max(self.peak, report["bytes"])
        self.died.update(report["died"])


@dataclass(frozen=True)
class Campaign:
    """Damaged files of one reader, each by its number."""

    reader: str
    seed: int
    samples: Sequence[Sample]

    def sample(self, number: int) -> Sample:
        random = Random(f"{self.reader} {self.seed} {number}")
        return mutated(random.choice(self.samples), random)

    def run(self, seconds: float) -> Tally:
        tally, number, end = Tally(), 0, time.monotonic() + seconds
        while time.monotonic() < end:
            for report in self._batch(range(number, number + BATCH), end):
                tally.add(report)
                number = report["number"] + 1
                if fault := _fault(report):
                    self._keep(report, fault, tally)
        return tally

    def _batch(self, numbers: range, end: float) -> Iterator[dict[str, Any]]:
        """The report on each file, made in a process of its own; the last where that died is made here."""
        with tempfile.TemporaryDirectory(dir=_memory()) as folder, mmap.mmap(-1, 16) as here:
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
                if status is None and time.monotonic() - struct.unpack("qd", here)[1] > PATIENCE:
                    os.kill(process, signal.SIGKILL)
                time.sleep(0.01)
            yield from map(json.loads, reports.read_text().splitlines())
            if status:
                number, begin = struct.unpack("qd", here)
                seconds = time.monotonic() - begin
                error = "" if seconds > PATIENCE else f"the process ended with {os.waitstatus_to_exitcode(status)}"
                outcome = "none" if seconds > PATIENCE else ""
                yield _report(number, seconds, 0, outcome=outcome, error=error)

    def _child(self, numbers: range, end: float, folder: Path, here: mmap.mmap) -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (ROOM, ROOM))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with (folder / "reports").open("w", buffering=1) as reports:
            for number in numbers:
                sample = self.sample(number)
                inner = Path(tempfile.mkdtemp(dir=folder))
                here[:] = struct.pack("qd", number, time.monotonic())
                print(json.dumps(self._judged(number, sample.put(inner))), file=reports)
                here[8:] = struct.pack("d", time.monotonic())
                _remove(inner)
                if time.monotonic() > end:
                    break
        os._exit(0)

    def _judged(self, number: int, path: Path) -> dict[str, Any]:
        forks = Forks()
        held, begin = _reset_peak(), time.monotonic()
        outcome, error = "", ""
        load = self.reader != "orbax" or number % LOADED == 0
        forked = self.reader in IN_HDF5 and number % STARTED
        try:
            with mock.patch.object(sandbox, "start", forks.start if forked else sandbox.start):
                outcome = tried(path, whole=load and number % WHOLE == 0, load=load)
        except BaseException:
            error = traceback.format_exc()
        peak = max(_peak() - held, forks.peak)
        return _report(number, time.monotonic() - begin, peak, outcome=outcome, error=error, died=forks.died)

    def _keep(self, report: dict[str, Any], fault: str, tally: Tally) -> None:
        tally.faults[fault] += 1
        if tally.faults[fault] > KEPT:
            return
        folder = FOUND / f"{self.reader}-{self.seed}-{report['number']}"
        folder.mkdir(parents=True, exist_ok=True)
        self.sample(report["number"]).put(folder)
        (folder / "report.txt").write_text(f"{fault}\n\n{report['error']}\n{report}\n")


class Forks:
    """Replaces the processes that the sandbox starts by forks of this one, which keep their limits."""

    def __init__(self) -> None:
        self.died: list[str] = []
        self.peak = 0

    def start(self, program: Path, message: str, seconds: float) -> subprocess.CompletedProcess[bytes]:
        """Replaces `se_weights.files.sandbox.start`."""
        with tempfile.TemporaryFile(dir=_memory()) as out, tempfile.TemporaryFile(dir=_memory()) as err:
            before = _status("VmRSS")
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
    """What is wrong, in a line that is the same for the same fault."""
    if report["error"]:
        lines = report["error"].strip().splitlines()
        ours = [line.strip() for line in lines if "/se_" in line]
        return f"{lines[-1].partition(':')[0]} {ours[-1].rpartition('/')[2] if ours else ''}"
    if report["seconds"] > SECONDS:
        return "it takes too long"
    return "it takes too much memory" if report["bytes"] > BYTES else ""


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def _reset_peak() -> int:
    """Sets the peak of this process's memory back to what it holds, which is given."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    return _status("VmHWM")


def _status(word: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(word))
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="for all readers together")
    parser.add_argument("--json", type=Path, help="where the numbers are written")
    parser.add_argument("--reader", action="append", choices=list(SEEDS), help="only these")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    readers = options.reader or list(SEEDS)
    tallies = {}
    for reader in readers:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:  # torch, which makes some, stays there
            samples = pool.submit(seeds, reader).result()
        tallies[reader] = Campaign(reader, options.seed, samples).run(options.seconds / len(readers))
        print(reader, vars(tallies[reader]), file=sys.stderr, flush=True)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        facts = {"command": sys.argv[1:], "date": time.strftime("%F"), "python": platform.python_version()}
        options.json.write_text(
            json.dumps({**facts, "readers": {reader: vars(tally) for reader, tally in tallies.items()}}, indent=2)
        )
    print(table(tallies))
    return int(any(tally.crashes or tally.hangs or tally.too_large for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
