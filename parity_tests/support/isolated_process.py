"""Runs a function or the command in a separate process: for kills, resource limits and other users.

Each process is forked from a fork server that has already imported all that a conversion needs, and no framework, so
that it starts within milliseconds.
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
from se_weights.files import FORMATS
from se_weights.files.processes import sandbox

CONTEXT = multiprocessing.get_context("forkserver")
PRELOADED = [
    "__main__",
    "parity_tests.support.isolated_process",
    "se_cli.commands.convert",
    "se_cli.commands.compare",
    "se_cli.commands.verify",
    "h5py",
    "encodings.cp437",
    *(known.path for known in FORMATS),
]

NOBODY = 65534


def tiny_checkpoint(seed: int = 0, **settings: Any) -> Checkpoint:
    """The smallest network that has nearly every kind of layer, with random weights from this seed."""
    architecture = se_spec.architecture(
        "se_resnet18", **{"depths": (1,), "widths": (4,), "num_classes": 3, "reduction": 2, **settings}
    )
    rng = np.random.default_rng(seed)
    weights = {p.name: rng.normal(1, 0.1, p.shape).astype(np.float32) for p in se_spec.manifest(architecture)}
    return Checkpoint(architecture, weights)


def run_isolated(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a separate process; return its result, or raise what it raises."""
    CONTEXT.set_forkserver_preload(PRELOADED)
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_send_result, args=(sender, function, arguments))
    process.start()
    sender.close()
    try:
        result = receiver.recv()
    except EOFError:
        result = None
    process.join()
    receiver.close()
    if result is None:
        raise AssertionError(f"{function} ended with exit code {process.exitcode}")
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


def _send_result(connection: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        result = function(*arguments)
    except BaseException as error:
        result = error
    connection.send((result,))


def start_forked(program: Path, message: str, seconds: float) -> subprocess.CompletedProcess[bytes]:
    """Replaces `se_weights.files.processes.sandbox.start`: runs the program in a fork of the warm process."""
    try:
        return subprocess.CompletedProcess([], 0, run_isolated(_run_program, str(program), message), b"")
    except AssertionError as error:
        return subprocess.CompletedProcess([], 1, b"", str(error).encode())


def _run_program(program: str, message: str) -> bytes:
    return sandbox.main(program, message).encode()


@dataclass(frozen=True)
class CommandResult:
    """Exit status and output of the command, named as in `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


def se_resnet(
    *arguments: object,
    file_size: int | None = None,
    user: int | None = None,
    setup: Callable[[], None] | None = None,
) -> CommandResult:
    """Run the command in a separate process.

    Args:
        arguments: Its command line.
        file_size: Limit on the size of each file that it writes, in bytes.
        user: Id of the user that it runs as.
        setup: Called in the process before the command.
    """
    return run_isolated(_command, [str(argument) for argument in arguments], file_size, user, setup)


def _command(
    arguments: list[str], file_size: int | None, user: int | None, setup: Callable[[], None] | None
) -> CommandResult:
    from se_cli.main import run

    sys.argv = ["se-resnet", *arguments]
    os.environ["NO_COLOR"] = "1"
    pipes = []
    for descriptor in (1, 2):  # pipes, so that the limit on file sizes does not hold for the output
        read_end, write_end = os.pipe()
        os.dup2(write_end, descriptor)
        os.set_blocking(read_end, False)
        pipes.append(read_end)
    if setup:
        setup()
    if user is not None:
        switch_user(user)
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    status = 0
    try:
        run()
    except SystemExit as exit_:
        status = int(exit_.code or 0)
    sys.stdout.flush()
    sys.stderr.flush()
    return CommandResult(status, *map(_read_pipe, pipes))


def _read_pipe(pipe: int) -> str:
    try:
        return os.read(pipe, 2**20).decode()
    except BlockingIOError:
        return ""


def switch_user(user: int) -> None:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)


def folder_contents(folder: Path) -> dict[str, bytes]:
    """The content of every file in a folder, hidden ones included, by relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
