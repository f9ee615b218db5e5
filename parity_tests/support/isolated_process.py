"""What must not happen in the tests' own process: kills, limits, other users. It happens in forks of a warm one.

The warm process has imported all that a conversion needs and no framework, so that a fork of it is there at once.
"""

import multiprocessing
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

import se_spec
from se_weights import Checkpoint
from se_weights.files import FORMATS, sandbox

CONTEXT = multiprocessing.get_context("forkserver")
PRELOADED = [
    "__main__",
    "parity_tests.support.isolated_process",
    "se_cli.convert",
    "se_cli.compare",
    "se_cli.verify",
    "h5py",
    "encodings.cp437",
    *(known.path for known in FORMATS),
]

NOBODY = 65534


def tiny(seed: int = 0, **facts: Any) -> Checkpoint:
    """The smallest network that has nearly every kind of layer, with weights no two of which are alike."""
    architecture = se_spec.architecture(
        "se_resnet18", **{"depths": (1,), "widths": (4,), "num_classes": 3, "reduction": 2, **facts}
    )
    rng = np.random.default_rng(seed)
    weights = {p.name: rng.normal(1, 0.1, p.shape).astype(np.float32) for p in se_spec.manifest(architecture)}
    return Checkpoint(architecture, weights)


def run_isolated(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function gives, or raises, in a process of its own."""
    CONTEXT.set_forkserver_preload(PRELOADED)
    mine, theirs = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_answer, args=(theirs, function, arguments))
    process.start()
    theirs.close()
    try:
        result = mine.recv()
    except EOFError:
        result = None
    process.join()
    mine.close()
    if result is None:
        raise AssertionError(f"{function} ended with {process.exitcode}")
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


def _answer(connection: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        result = function(*arguments)
    except BaseException as error:
        result = error
    connection.send((result,))


def start_forked(program: Path, message: str, seconds: float) -> subprocess.CompletedProcess[bytes]:
    """Replaces `se_weights.files.sandbox.start`: runs the program in a fork of the warm process."""
    try:
        return subprocess.CompletedProcess([], 0, run_isolated(_run_program, str(program), message), b"")
    except AssertionError as error:
        return subprocess.CompletedProcess([], 1, b"", str(error).encode())


def _run_program(program: str, message: str) -> bytes:
    return sandbox.main(program, message).encode()


@dataclass(frozen=True)
class CommandResult:
    returncode: int
    stdout: str
    stderr: str


def se_resnet(
    *arguments: object,
    file_size: int | None = None,
    user: int | None = None,
    first: Callable[[], None] | None = None,
) -> CommandResult:
    """The command, apart; with no file larger than `file_size` bytes, as another user, or after something else."""
    return run_isolated(_command, [str(argument) for argument in arguments], file_size, user, first)


def _command(
    arguments: list[str], file_size: int | None, user: int | None, first: Callable[[], None] | None
) -> CommandResult:
    from se_cli.main import run

    sys.argv = ["se-resnet", *arguments]
    os.environ["NO_COLOR"] = "1"
    heard = []
    for number in (1, 2):  # pipes: a limit on the size of files must not hold for what is said
        reads, writes = os.pipe()
        os.dup2(writes, number)
        os.set_blocking(reads, False)
        heard.append(reads)
    if first:
        first()
    if user is not None:
        become(user)
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    status = 0
    try:
        run()
    except SystemExit as ended:
        status = int(ended.code or 0)
    sys.stdout.flush()
    sys.stderr.flush()
    return CommandResult(status, *map(_said, heard))


def _said(pipe: int) -> str:
    try:
        return os.read(pipe, 2**20).decode()
    except BlockingIOError:
        return ""


def become(user: int) -> None:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)


def content(folder: Path) -> dict[str, bytes]:
    """Every file in a folder, hidden ones too, by its path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
