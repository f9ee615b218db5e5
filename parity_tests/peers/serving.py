"""Reads one JSON request a line from standard input, and writes one JSON answer a line to standard output.

Runs in the environments of the peers, so it imports no package of this project. What a peer prints goes to standard
error.
"""

import json
import os
import sys


def answer_requests(answer):
    """Call `answer` with each request; if it raises an exception, send that as the answer and continue."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            answer(json.loads(line))
            said = {}
        except Exception as error:
            said = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(said) + "\n")
