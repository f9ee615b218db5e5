"""The other end of a Worker: `python -m se_parity.worker FRAMEWORK DEVICE`.

Takes one JSON request a line on standard input and gives one JSON answer a line on what was standard output; the
framework's own chatter goes to standard error. Arrays travel as safetensors files that the requests name.
"""

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Any

from safetensors.numpy import load_file, save_file

from se_parity.runners import RUNNERS
from se_spec import Architecture


def main(framework: str, device: str) -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    desk = _Desk(framework, device)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"result": getattr(desk, request.pop("call"))(**request)}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": str(error) or type(error).__name__, "kind": type(error).__name__}
        with contextlib.suppress(BrokenPipeError):
            answers.write(json.dumps(answer) + "\n")


class _Desk:
    """The requests by name. One model at a time is loaded."""

    def __init__(self, framework: str, device: str) -> None:
        self.framework = framework
        self.device = device
        self.runner: Any = None
        self.model: Any = None
        self.runs: dict[str, Callable[..., Any]] = {}

    def start(self) -> dict[str, str]:
        self.runner = import_module(RUNNERS[self.framework])
        self.runner.prepare(self.device)
        return self.runner.environment() | {"python": sys.version.split()[0]}

    def modes(self) -> list[str]:
        return list(self.runner.MODES)

    def load(self, facts: dict[str, Any], weights: str, dtype: str) -> None:
        self.runs.clear()
        self.model = self.runner.load(Architecture.from_facts(facts), load_file(weights), dtype)

    def logits(self, mode: str, images: str, outputs: str) -> None:
        if mode not in self.runs:
            self.runs[mode] = self.runner.MODES[mode](self.model)
        save_file({"logits": self.runs[mode](load_file(images)["images"]).copy(order="C")}, outputs)

    def features(self, images: str, outputs: str) -> None:
        save_file(self.runner.features(self.model)(load_file(images)["images"]), outputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
