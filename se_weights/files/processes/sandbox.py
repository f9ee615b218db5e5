"""Runs the programs that read untrusted files with C and C++ libraries (HDF5, TensorStore) in a process with limits.

Such libraries have many faults that a crafted file can reach, so they never open an untrusted file in the user's own
process. A program is a Python file with a function

    run(request: dict, refuse: Callable[[str, str], Exception]) -> dict

whose request and answer can be written as JSON, and which raises `refuse(reason, detail)` for a file that is to be
refused; `reason` is an id of se_weights/refusals.py. Programs import nothing of se_weights, which keeps the start of
the process short. `run_sandboxed` starts this file as the process, `python -I sandbox.py PROGRAM`. For a file that the
calling process has just written itself, a program's `run` can be called directly.
"""

import json
import os
import resource
import runpy
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Refuse = Callable[[str, str], Exception]
"""Makes the exception to raise from the id of a refusal and its detail."""

PACKAGE_FOLDERS = ("site-packages", "dist-packages")
"""Entries of sys.path that the process gets from its parent: `-I` omits those of the user and of PYTHONPATH."""


@dataclass(frozen=True)
class Limits:
    """What a program may use.

    Attributes:
        seconds: Wall-clock time from the start of the process.
        cpu_seconds: Processor time (RLIMIT_CPU).
        memory: Bytes of private memory, that of the imported libraries included (RLIMIT_DATA).
    """

    seconds: int
    cpu_seconds: int
    memory: int


def run_sandboxed(program: Path, request: Mapping[str, Any], limits: Limits, failure: str) -> dict[str, Any]:
    """Runs a program in a separate process.

    Args:
        program: The program's file.
        request: The argument of its function `run`.
        limits: The time and the memory that it may use.
        failure: The id of the refusal for a program that crashes or exceeds its limits.

    Returns:
        The program's answer.

    Raises:
        WeightsError: The program refused the file, crashed or exceeded its limits.
    """
    from se_weights.refusals import refuse  # not at the top: the process with limits imports nothing of se_weights

    packages = [entry for entry in sys.path if Path(entry).name in PACKAGE_FOLDERS]
    message = {"request": request, "limits": asdict(limits), "failure": failure, "packages": packages}
    try:
        process = start(program, json.dumps(message), limits.seconds)
    except subprocess.TimeoutExpired as error:
        raise refuse(failure, f"it took more than {limits.seconds} s") from error
    if process.returncode:
        last_line = process.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise refuse(failure, ", ".join([f"status {process.returncode}", *last_line]))
    try:
        answer = json.loads(process.stdout)
    except ValueError as error:
        raise refuse(failure, "its answer is not JSON") from error
    if "reason" in answer:
        raise refuse(answer["reason"], answer["detail"])
    return answer


def start(program: Path, message: str, seconds: float) -> subprocess.CompletedProcess[bytes]:
    """Starts the process and waits for its end. Tests replace this function by one that forks a warm process.

    Args:
        program: The program's file.
        message: The JSON that `main` takes, which the process reads from standard input.
        seconds: The wall-clock time after which the process is ended.

    Returns:
        The ended process: its status, standard output and standard error.

    Raises:
        subprocess.TimeoutExpired: The process took longer.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HDF5", "PYTHON"))}
    return subprocess.run(
        [sys.executable, "-I", __file__, str(program)],
        input=message.encode(),
        capture_output=True,
        timeout=seconds,
        check=False,
        env={"OPENBLAS_NUM_THREADS": "1", **environment},
    )


class Refused(Exception):
    """Raised in the process with limits where a program refuses the file.

    Args:
        reason: The id of the refusal.
        detail: What was found in the file.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def main(program: str, message: str) -> str:
    """Runs the program in this process, once its libraries are imported and the limits are set.

    Args:
        program: The path of the program's file.
        message: JSON that `run_sandboxed` made: the request, the limits, and where packages are installed.

    Returns:
        JSON: the program's answer, or the `reason` and `detail` of a refusal.
    """
    options = json.loads(message)
    packages = options["packages"]
    sys.path = [entry for entry in sys.path if entry not in packages] + packages
    run = runpy.run_path(program)["run"]
    limits = Limits(**options["limits"])
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_seconds, limits.cpu_seconds))
    resource.setrlimit(resource.RLIMIT_DATA, (limits.memory, limits.memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        return json.dumps(run(options["request"], Refused))
    except Refused as error:
        return json.dumps({"reason": error.reason, "detail": str(error)})
    except (MemoryError, RecursionError) as error:
        return json.dumps({"reason": options["failure"], "detail": type(error).__name__})


if __name__ == "__main__":
    print(main(sys.argv[1], sys.stdin.read()))
