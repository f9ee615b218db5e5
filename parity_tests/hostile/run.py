"""Runs a case through the command, and compares the outcome with the expected one."""

import hashlib
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import se_weights
from parity_tests.hostile.case import Case, ValidFiles, convert

SECONDS = 10
MEGABYTES = 500

MAX_HASHED_BYTES = 2**24
"""A larger file is sparse; it is compared by its size and modification time instead of its content."""

ROOT = Path(__file__).parents[2]
MEASURE = Path(__file__).with_name("measure.py")
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

PACKAGES = {"torch": "torch", "keras": "tensorflow", "orbax": "orbax"}

ENVIRONMENT = dict(os.environ)
"""A copy: pytest changes PYTEST_CURRENT_TEST while cases run in threads."""


@dataclass(frozen=True)
class Outcome:
    """How a case ended.

    Attributes:
        status: Exit status.
        id: Refusal id.
        message: Error message.
        seconds: Time that the command took.
        megabytes: Its peak memory.
        faults: Sentences about what differs from the expected outcome.
        marks: The same as key words.
        skipped: Why the case was not run.
    """

    status: int = 0
    id: str | None = None
    message: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0
    faults: tuple[str, ...] = ()
    marks: frozenset[str] = frozenset()
    skipped: str = ""


def run(case: Case, folder: Path, valid: ValidFiles) -> Outcome:
    """Run a case in a folder that does not exist yet."""
    if case.made_with and not find_spec(PACKAGES[case.made_with]):
        return Outcome(skipped=f"{case.made_with} is not installed here")
    place = folder / "place"
    (place / "tmp").mkdir(parents=True)
    made = case.make(place, valid)
    target = place / f"target{case.target}"
    command = made if isinstance(made, list) else convert(made, target)
    before = _snapshot(place)
    finished = _run_measured(command, place, folder / "report.json")
    after = _snapshot(place)
    left = [name for name in after if name not in before and (case.status or name != target.name)]
    left = [name for name in left if not name.startswith(f"{target.name}/")] if not case.status else left
    changed = [name for name in before if after.get(name) != before[name]]
    named = "" if isinstance(made, list) else made.name
    return _judge(case, finished, named, left, changed, target, valid)


@dataclass(frozen=True)
class _Finished:
    status: int
    seconds: float
    megabytes: float
    stdout: str
    stderr: str
    error: Mapping[str, object] = field(default_factory=dict)


def _run_measured(command: list[str], place: Path, report: Path) -> _Finished:
    process = subprocess.run(
        [sys.executable, "-I", "-S", str(MEASURE), str(SECONDS), str(report), *command],
        cwd=place,
        env={**ENVIRONMENT, "PYTHONPATH": str(ROOT), "TMPDIR": str(place / "tmp")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=3 * SECONDS,
    )
    stdout, stderr = (text.decode(errors="replace") for text in (process.stdout, process.stderr))
    return _Finished(**json.loads(report.read_text()), stdout=stdout, stderr=stderr, error=_error(stdout))


def _error(stdout: str) -> Mapping[str, object]:
    try:
        return json.loads(stdout).get("error", {})
    except ValueError:
        return {}


def _judge(
    case: Case, finished: _Finished, named: str, left: list[str], changed: list[str], target: Path, valid: ValidFiles
) -> Outcome:
    message, reason = str(finished.error.get("message", "")), finished.error.get("id")
    controls = sorted(set(CONTROL.findall(finished.stdout + finished.stderr)))
    checks = {
        "traceback": "Traceback" in finished.stderr and f"a traceback:\n{finished.stderr}",
        "hang": finished.seconds >= SECONDS and f"it took {finished.seconds:.1f} s",
        "memory": finished.megabytes >= MEGABYTES and f"it took {finished.megabytes:.0f} MB",
        "leftover": left and f"it left {', '.join(left)}",
        "changed": changed and f"it changed {', '.join(changed)}",
        "controls": controls and f"control characters in its output: {controls}",
        "status": finished.status != case.status
        and f"status {finished.status} instead of {case.status}:\n{finished.stdout}{finished.stderr}",
        "id": reason != case.id and f"id {reason} instead of {case.id}: {message}",
        "says": case.status and case.says not in message and f"it does not say {case.says!r}: {message}",
        "names": case.status
        and named.isprintable()
        and named not in message
        and f"it does not name {named}: {message}",
    }
    if not case.status and not finished.status:
        checks["weights"] = _weights_fault(case, target, valid)
    faults = {mark: fault for mark, fault in checks.items() if fault}
    return Outcome(
        finished.status,
        reason,
        message,
        finished.seconds,
        finished.megabytes,
        tuple(str(fault) for fault in faults.values()),
        frozenset(faults),
    )


def _weights_fault(case: Case, target: Path, valid: ValidFiles) -> str | None:
    if not target.exists():
        return "there is no target"
    found = se_weights.weights_sha256(se_weights.read(target).weights)
    return None if found == se_weights.weights_sha256(case.weights(valid)) else "the target holds other weights"


def _snapshot(folder: Path) -> dict[str, object]:
    """The kind and the content of everything in a folder, without following links or opening special files."""
    found: dict[str, object] = {}
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(root, name)
            status = path.lstat()
            kind = stat.S_IFMT(status.st_mode)
            if kind == stat.S_IFLNK:
                value: object = path.readlink()
            elif kind == stat.S_IFREG and status.st_size <= MAX_HASHED_BYTES:
                value = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                value = (status.st_size, status.st_mtime_ns) if kind == stat.S_IFREG else None
            found[str(path.relative_to(folder))] = kind, value
    return found
