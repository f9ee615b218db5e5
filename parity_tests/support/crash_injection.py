"""Kills a conversion at each step of its writing, one process a step, and records what each kill leaves behind."""

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
from parity_tests.support.isolated_process import tiny_checkpoint
from se_weights import convert, file_sha256, read_disambiguated, write
from se_weights.provenance.conversion_record import record_path
from se_weights.writing import atomic_write as replacing

TRACED_FILES = (
    "writing/atomic_write.py",
    "writing/write.py",
    "provenance/conversion_record.py",
    "files/npz.py",
    "files/safetensors/huggingface.py",
    "files/sharded.py",
    "files/safetensors/single_file.py",
    "files/msgpack/flax_state.py",
    "files/keras/weights_h5.py",
    "files/hdf5/listing.py",
    "files/hdf5/writer.py",
    "files/torch/pth.py",
    "files/torch/pickle_writer.py",
)
"""The files of se_weights that take part in writing. A step is the execution of one line of them."""

ABSENT, OLD, NEW, CORRUPT = "absent", "old", "new", "corrupt"
"""States of a file: it does not exist; it is what was there before; it is the new one; it is neither."""


@dataclass(frozen=True)
class KillResult:
    """What a kill leaves behind.

    Attributes:
        line: The line that was about to be executed.
        source: State of the source.
        target: State of the target.
        record: State of the target's conversion record.
        leftovers: States of all other files in the folder.
        after_rewrite: Where there are leftovers: the state of the target and the names of all files in the folder after
            the next conversion to the same target.
    """

    line: str
    source: str
    target: str
    record: str
    leftovers: tuple[str, ...]
    after_rewrite: tuple[str, ...]


@dataclass(frozen=True)
class CrashCase:
    """A conversion to be killed.

    Attributes:
        suffix: Suffix of the target.
        existing: Whether a target and its conversion record exist already.
        force: Whether the conversion may overwrite them.
        tmpfile: Whether the system has O_TMPFILE.
    """

    suffix: str
    existing: bool = False
    force: bool = False
    tmpfile: bool = True

    def __str__(self) -> str:
        labels = (("existing target", self.existing), ("forced", self.force), ("no O_TMPFILE", not self.tmpfile))
        return ", ".join([self.suffix, *(label for label, applies in labels if applies)])


def kill_at_every_step(case: CrashCase, folder: Path, every_time: bool) -> list[KillResult]:
    """Kill the conversion at each line, every time that the line is executed.

    Without `every_time`, only the first and the last time.
    """
    if not case.tmpfile:
        replacing.O_TMPFILE = None
    source, target = (
        folder / "place" / f"source{_source_suffix(case.suffix)}",
        folder / "place" / f"target{case.suffix}",
    )
    states = _prepare(case, folder, source, target)
    read = read_disambiguated(source)
    sys.modules["se_weights.convert"].read_disambiguated = lambda *rest, **options: read  # type: ignore[attr-defined]
    lines = _executed_lines(lambda: convert(source, target, manifest=True, force=True))
    steps = set(range(len(lines)))
    if not every_time:
        steps = {*{line: step for step, line in enumerate(lines)}.values()}
        steps |= {lines.index(line) for line in set(lines)}
    return [_kill_at_step(case, folder, source, target, states, step) for step in sorted(steps)]


def _kill_at_step(
    case: CrashCase, folder: Path, source: Path, target: Path, states: dict[str, str], step: int
) -> KillResult:
    shutil.rmtree(source.parent)
    shutil.copytree(folder / "before", source.parent)
    read_end, write_end = os.pipe()

    def kill(line: str) -> None:
        os.write(write_end, line.encode())
        os.kill(os.getpid(), signal.SIGKILL)

    def run_conversion() -> None:
        convert(source, target, manifest=True, force=case.force)

    exit_code = _run_forked(lambda: _trace(run_conversion, _call_at(step, kill)))
    os.close(write_end)
    with os.fdopen(read_end) as file:
        line = file.read()
    if exit_code not in (0, -signal.SIGKILL):
        raise AssertionError(f"the conversion ended with exit code {exit_code} at {line}")
    expected = {source.name, target.name, record_path(target).name}
    leftovers = tuple(_state(path, states) for path in sorted(source.parent.iterdir()) if path.name not in expected)
    found = [_state(path, states) for path in (source, target, record_path(target))]
    after_rewrite: tuple[str, ...] = ()
    if leftovers:
        _run_forked(lambda: convert(source, target, manifest=True, force=True))
        after_rewrite = (_state(target, states), *sorted(path.name for path in source.parent.iterdir()))
    return KillResult(line, *found, leftovers, after_rewrite)


def _call_at(step: int, function: Callable[[str], None]) -> Callable[[str], None]:
    """A trace function for `_trace` that calls `function` at this step alone."""
    remaining = step

    def on_line(line: str) -> None:
        nonlocal remaining
        if not remaining:
            function(line)
        remaining -= 1

    return on_line


def _executed_lines(work: Callable[[], object]) -> list[str]:
    """Every traced line that is executed, as often as it is."""
    lines: list[str] = []
    _trace(work, lines.append)
    return lines


def _prepare(case: CrashCase, folder: Path, source: Path, target: Path) -> dict[str, str]:
    """Write the files that exist before the conversion; return the states of files by their hashes."""
    states = {}
    source.parent.mkdir(parents=True)
    if case.existing:
        write(tiny_checkpoint(1), source)
        convert(source, target, manifest=True)
        states |= {file_sha256(path): OLD for path in (target, record_path(target))}
        source.unlink()
    write(tiny_checkpoint(), source)
    states[file_sha256(source)] = OLD
    shutil.copytree(source.parent, folder / "before")
    convert(source, target, manifest=True, force=case.force)
    return states | {file_sha256(path): NEW for path in (target, record_path(target))}


def _source_suffix(suffix: str) -> str:
    return ".npz" if suffix in (".safetensors", ".hf") else ".safetensors"


def _state(path: Path, states: dict[str, str]) -> str:
    return states.get(file_sha256(path), CORRUPT) if path.exists() else ABSENT


def _run_forked(work: Callable[[], object]) -> int:
    """Run the work in a fork of this process; return its exit code."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _trace(work: Callable[[], object], on_line: Callable[[str], None]) -> None:
    """Do the work, and call `on_line` before each line of the traced files, from the first call of `write`."""
    folder = Path(se_weights.__file__).parent
    traced = {str(folder / name): name for name in TRACED_FILES}
    began = False

    def at_line(frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            on_line(f"{traced[frame.f_code.co_filename]}:{frame.f_lineno}")
        return at_line

    def at_call(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal began
        began = began or frame.f_code is write.__code__
        return at_line if began and frame.f_code.co_filename in traced else None

    sys.settrace(at_call)
    try:
        work()
    finally:
        sys.settrace(None)
