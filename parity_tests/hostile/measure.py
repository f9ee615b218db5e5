"""Runs a command and writes its exit status, time and peak memory: `python measure.py LIMIT REPORT COMMAND...`.

This is a separate small process, since the peak memory of a child includes that of the process it was forked from.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

limit, report, *command = sys.argv[1:]
began = time.perf_counter()
process = subprocess.Popen(command, start_new_session=True)
signal.signal(signal.SIGALRM, lambda *_: os.killpg(process.pid, signal.SIGKILL))
signal.alarm(int(limit))
_, status, usage = os.wait4(process.pid, 0)
report_fields = {
    "status": os.waitstatus_to_exitcode(status),
    "seconds": time.perf_counter() - began,
    "megabytes": usage.ru_maxrss / 1024,
}
Path(report).write_text(json.dumps(report_fields))
