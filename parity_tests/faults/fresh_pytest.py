"""Runs pytest again and again in one process, each time on freshly imported sources.

`python -m parity_tests.faults.fresh_pytest` takes a JSON list of pytest arguments a line on standard input, and answers
with a JSON object: pytest's exit status and its output. The frameworks are imported once, which takes most of the time
of a test of one small network; our own packages are imported anew each time, as their sources are then.
"""

import contextlib
import importlib
import io
import json
import os
import sys

import pytest

OWN = ("se_", "parity_tests")
"""How the names of our own packages begin."""


def main() -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        for name in [name for name in sys.modules if name.startswith(OWN)]:
            del sys.modules[name]
        importlib.invalidate_caches()
        with contextlib.redirect_stdout(io.StringIO()) as output:
            status = pytest.main(["-q", "-p", "no:cacheprovider", *json.loads(line)])
        answers.write(json.dumps({"status": int(status), "output": output.getvalue()}) + "\n")


if __name__ == "__main__":
    main()
