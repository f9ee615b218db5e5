"""One JSON request a line on standard input, one JSON answer a line on what was standard output.

Runs in the peers' environments, so it imports nothing of ours. A peer's own chatter goes to standard error.
"""

import json
import os
import sys


def answer_requests(answer):
    """Calls `answer` with each request; whatever it raises is the answer, in words, and the next request is taken."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            answer(json.loads(line))
            said = {}
        except Exception as error:
            said = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(said) + "\n")
