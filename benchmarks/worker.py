"""A process that runs the subjects of one framework: `python -m benchmarks.worker torch`.

Reads one JSON request per line from standard input, `{"prepare": subject, "workload": name}` or `{"run": subject}`, and
writes one line to standard output for each: the seconds that it took (`wall`), and the share of the CPU time that other
processes used meanwhile (`others`). What the frameworks print goes to standard error.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from benchmarks.workload import THREADS, WORKLOADS


def main(framework: str) -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    subjects = import_module(f"benchmarks.subjects_{framework}")
    print(json.dumps(subjects.configure()), file=answers)
    steps: dict[str, Callable[[], object]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        began, own, busy = time.perf_counter(), time.process_time(), busy_seconds()
        if subject := request.get("prepare"):
            steps[subject] = subjects.SUBJECTS[subject](WORKLOADS[request["workload"]])
            steps[subject]()
        else:
            steps[request["run"]]()
        wall = time.perf_counter() - began
        others = busy_seconds() - busy - (time.process_time() - own)
        print(json.dumps({"wall": wall, "others": max(others, 0.0) / wall / THREADS}), file=answers)


def busy_seconds() -> float:
    """CPU seconds that were used since boot, including those stolen by other virtual machines."""
    with Path("/proc/stat").open() as file:
        user, nice, system, _, _, hard, soft, stolen, *_ = map(int, file.readline().split()[1:])
    return (user + nice + system + hard + soft + stolen) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    # JAX uses one thread for each available CPU
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:THREADS]))
    main(*sys.argv[1:])
