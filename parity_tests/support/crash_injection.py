"""A conversion that is killed at every step: `walk` takes it through them, one process a step."""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import se_weights
from parity_tests.support.isolated_process import tiny
from se_weights import convert, file_sha256, read_disambiguated, write
from se_weights.provenance.conversion_record import record_path
from se_weights.writing import atomic_write as replacing

WATCHED = (
    "writing/atomic_write.py",
    "writing/write.py",
    "provenance/conversion_record.py",
    "files/npz.py",
    "files/safetensors/huggingface.py",
    "files/safetensors/sharded.py",
    "files/safetensors/single_file.py",
    "files/msgpack/flax_state.py",
    "files/keras/weights_h5.py",
    "files/hdf5/listing.py",
    "files/hdf5/writer.py",
    "files/torch/pth.py",
    "files/torch/pickle_writer.py",
)
"""The files of se_weights that take part in writing. A line of one of them is a step."""

ABSENT, EARLIER, NEW, HALF = "absent", "earlier", "new", "half"


@dataclass(frozen=True)
class Walked:
    """What a kill left: the source, the target, its manifest and what else lies there; and after the next writer."""

    line: str
    source: str
    target: str
    manifest: str
    left: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """`earlier`: a target and its manifest are there already. `nameless`: the system has O_TMPFILE."""

    suffix: str
    earlier: bool = False
    force: bool = False
    nameless: bool = True

    def __str__(self) -> str:
        words = (("over an earlier one", self.earlier), ("forced", self.force), ("named", not self.nameless))
        return ", ".join([self.suffix, *(word for word, true in words if true)])


def walk(case: Case, folder: Path, whole: bool) -> list[Walked]:
    """Killed at the first line, then at the second, until it comes through; at each one of them every time that it is
    run, or, where not `whole`, the first and the last time."""
    if not case.nameless:
        replacing.O_TMPFILE = None
    source, target = folder / "place" / f"source{_other(case.suffix)}", folder / "place" / f"target{case.suffix}"
    known = _prepare(case, folder, source, target)
    read = read_disambiguated(source)
    sys.modules["se_weights.convert"].read_disambiguated = lambda *rest, **options: read  # type: ignore[attr-defined]
    lines = _lines(lambda: convert(source, target, manifest=True, force=True))
    steps = set(range(len(lines)))
    if not whole:
        steps = {*{line: step for step, line in enumerate(lines)}.values()}
        steps |= {lines.index(line) for line in set(lines)}
    return [_killed(case, folder, source, target, known, step) for step in sorted(steps)]


def _killed(case: Case, folder: Path, source: Path, target: Path, known: dict[str, str], step: int) -> Walked:
    shutil.rmtree(source.parent)
    shutil.copytree(folder / "before", source.parent)
    heard, says = os.pipe()

    def end(line: str) -> None:
        os.write(says, line.encode())
        os.kill(os.getpid(), signal.SIGKILL)

    def work() -> None:
        convert(source, target, manifest=True, force=case.force)

    ended = _forked(lambda: _traced(work, _at(step, end)))
    os.close(says)
    with os.fdopen(heard) as file:
        line = file.read()
    if ended not in (0, -signal.SIGKILL):
        raise AssertionError(f"it ended with {ended} at {line}")
    expected = {source.name, target.name, record_path(target).name}
    left = tuple(_named(path, known) for path in sorted(source.parent.iterdir()) if path.name not in expected)
    states = [_named(path, known) for path in (source, target, record_path(target))]
    after: tuple[str, ...] = ()
    if left:
        _forked(lambda: convert(source, target, manifest=True, force=True))
        after = (_named(target, known), *sorted(path.name for path in source.parent.iterdir()))
    return Walked(line, *states, left, after)


def _at(step: int, end: Callable[[str], None]) -> Callable[[str], None]:
    remaining = step

    def at(line: str) -> None:
        nonlocal remaining
        if not remaining:
            end(line)
        remaining -= 1

    return at


def _lines(work: Callable[[], object]) -> list[str]:
    """Every line that is run from the beginning of the writing, as often as it is."""
    lines: list[str] = []
    _traced(work, lines.append)
    return lines


def _prepare(case: Case, folder: Path, source: Path, target: Path) -> dict[str, str]:
    """What is there before, and the hashes of the files as they may be found later."""
    known = {}
    source.parent.mkdir(parents=True)
    if case.earlier:
        write(tiny(1), source)
        convert(source, target, manifest=True)
        known |= {file_sha256(path): EARLIER for path in (target, record_path(target))}
        source.unlink()
    write(tiny(), source)
    known[file_sha256(source)] = EARLIER
    shutil.copytree(source.parent, folder / "before")
    convert(source, target, manifest=True, force=case.force)
    return known | {file_sha256(path): NEW for path in (target, record_path(target))}


def _other(suffix: str) -> str:
    return ".npz" if suffix in (".safetensors", ".hf") else ".safetensors"


def _named(path: Path, known: dict[str, str]) -> str:
    return known.get(file_sha256(path), HALF) if path.exists() else ABSENT


def _forked(work: Callable[[], object]) -> int:
    """How a fork of this process that does this work ends."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _traced(work: Callable[[], object], at: Callable[[str], None]) -> None:
    """Do the work, and call `at` before each line of the watched files from the beginning of the writing."""
    folder = Path(se_weights.__file__).parent
    watched = {str(folder / name): name for name in WATCHED}
    began = False

    def at_line(frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            at(f"{watched[frame.f_code.co_filename]}:{frame.f_lineno}")
        return at_line

    def at_call(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal began
        began = began or frame.f_code is write.__code__
        return at_line if began and frame.f_code.co_filename in watched else None

    sys.settrace(at_call)
    try:
        work()
    finally:
        sys.settrace(None)
