"""Runs a case as a user would, and judges what became of it."""

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
from parity_tests.hostile.case import Case, Good, convert

SECONDS = 10
MEGABYTES = 500

HASHED = 2**24
"""Bytes of the largest file that is compared by content; a larger one is a bomb of holes, compared by its date."""

ROOT = Path(__file__).parents[2]
MEASURE = Path(__file__).with_name("measure.py")
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

PACKAGES = {"torch": "torch", "keras": "tensorflow", "orbax": "orbax"}

ENVIRONMENT = dict(os.environ)
"""As it was at first: pytest changes its own word in it while cases run in threads."""


@dataclass(frozen=True)
class Outcome:
    """`faults` are sentences, none where the case ended as it must."""

    status: int = 0
    id: str | None = None
    message: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0
    faults: tuple[str, ...] = ()
    marks: frozenset[str] = frozenset()
    skipped: str = ""


def run(case: Case, folder: Path, good: Good) -> Outcome:
    """What a case comes to, in a folder of its own that does not exist yet."""
    if case.needs and not find_spec(PACKAGES[case.needs]):
        return Outcome(skipped=f"{case.needs} is not installed here")
    place = folder / "place"
    (place / "tmp").mkdir(parents=True)
    made = case.make(place, good)
    target = place / f"target{case.target}"
    command = made if isinstance(made, list) else convert(made, target)
    before = _state(place)
    ended = _measured(command, place, folder / "report.json")
    after = _state(place)
    left = [name for name in after if name not in before and (case.status or name != target.name)]
    left = [name for name in left if not name.startswith(f"{target.name}/")] if not case.status else left
    changed = [name for name in before if after.get(name) != before[name]]
    named = "" if isinstance(made, list) else made.name
    return _judged(case, ended, named, left, changed, target, good)


@dataclass(frozen=True)
class _Ended:
    status: int
    seconds: float
    megabytes: float
    stdout: str
    stderr: str
    error: Mapping[str, object] = field(default_factory=dict)


def _measured(command: list[str], place: Path, report: Path) -> _Ended:
    ended = subprocess.run(
        [sys.executable, "-I", "-S", str(MEASURE), str(SECONDS), str(report), *command],
        cwd=place,
        env={**ENVIRONMENT, "PYTHONPATH": str(ROOT), "TMPDIR": str(place / "tmp")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=3 * SECONDS,
    )
    stdout, stderr = (text.decode(errors="replace") for text in (ended.stdout, ended.stderr))
    return _Ended(**json.loads(report.read_text()), stdout=stdout, stderr=stderr, error=_error(stdout))


def _error(stdout: str) -> Mapping[str, object]:
    try:
        return json.loads(stdout).get("error", {})
    except ValueError:
        return {}


def _judged(
    case: Case, ended: _Ended, named: str, left: list[str], changed: list[str], target: Path, good: Good
) -> Outcome:
    message, reason = str(ended.error.get("message", "")), ended.error.get("id")
    controls = sorted(set(CONTROL.findall(ended.stdout + ended.stderr)))
    checks = {
        "traceback": "Traceback" in ended.stderr and f"a traceback:\n{ended.stderr}",
        "hang": ended.seconds >= SECONDS and f"it took {ended.seconds:.1f} s",
        "memory": ended.megabytes >= MEGABYTES and f"it took {ended.megabytes:.0f} MB",
        "leftover": left and f"it left {', '.join(left)}",
        "changed": changed and f"it changed {', '.join(changed)}",
        "controls": controls and f"control characters in what it says: {controls}",
        "status": ended.status != case.status
        and f"status {ended.status} instead of {case.status}:\n{ended.stdout}{ended.stderr}",
        "id": reason != case.id and f"id {reason} instead of {case.id}: {message}",
        "says": case.status and case.says not in message and f"it does not say {case.says!r}: {message}",
        "names": case.status
        and named.isprintable()
        and named not in message
        and f"it does not name {named}: {message}",
    }
    if not case.status and not ended.status:
        checks["weights"] = _weights_fault(case, target, good)
    faults = {mark: fault for mark, fault in checks.items() if fault}
    return Outcome(
        ended.status,
        reason,
        message,
        ended.seconds,
        ended.megabytes,
        tuple(str(fault) for fault in faults.values()),
        frozenset(faults),
    )


def _weights_fault(case: Case, target: Path, good: Good) -> str | None:
    if not target.exists():
        return "there is no target"
    found = se_weights.weights_sha256(se_weights.read(target).weights)
    return None if found == se_weights.weights_sha256(case.weights(good)) else "the target holds other weights"


def _state(folder: Path) -> dict[str, object]:
    """What lies in a folder, without following links or opening what is no file."""
    found: dict[str, object] = {}
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(root, name)
            status = path.lstat()
            kind = stat.S_IFMT(status.st_mode)
            if kind == stat.S_IFLNK:
                value: object = path.readlink()
            elif kind == stat.S_IFREG and status.st_size <= HASHED:
                value = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                value = (status.st_size, status.st_mtime_ns) if kind == stat.S_IFREG else None
            found[str(path.relative_to(folder))] = kind, value
    return found
