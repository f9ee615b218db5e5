"""Runs the framework that must write a format itself, in a separate process: the caller's never imports it."""

import subprocess
import sys
from collections.abc import Mapping

from se_weights.errors import WriteFailed


def run_writer(
    library: str,
    *arguments: str,
    text: str = "",
    environment: Mapping[str, str] | None = None,
    seconds: float | None = None,
) -> None:
    """Runs Python with the arguments, and waits for its end.

    Args:
        library: The name of the library that writes, for the error message.
        arguments: What follows `python` in the command.
        text: Standard input.
        environment: The environment variables; those of this process by default.
        seconds: The time after which the process is killed; without limit by default.

    Raises:
        WriteFailed: The process failed, with the last line of its standard error; or it took too long.
    """
    command = [sys.executable, *arguments]
    try:
        process = subprocess.run(
            command, input=text, capture_output=True, text=True, check=False, env=environment, timeout=seconds
        )
    except subprocess.TimeoutExpired as error:
        raise WriteFailed(f"{library} could not write the file: it took more than {seconds} s") from error
    if process.returncode:
        last_line = process.stderr.strip().splitlines()[-1:] or [f"status {process.returncode}"]
        raise WriteFailed(f"{library} could not write the file: {last_line[0]}")
