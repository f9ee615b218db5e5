"""The other end of a Worker: `python -m se_parity.run.server FRAMEWORK DEVICE`.

Takes one JSON request a line on standard input and gives one JSON answer a line on what was standard output; the
framework's own chatter goes to standard error. Arrays travel as safetensors files that the requests name.
"""

import contextlib
import json
import os
import re
import resource
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from se_parity.recipe import Recipe, results_of
from se_parity.run.arrays import load_arrays, save_arrays
from se_parity.run.numerics import probe
from se_parity.run.runners import RUNNERS
from se_spec import Architecture


def main(framework: str, device: str) -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    desk = _Handler(framework, device)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"result": getattr(desk, request.pop("call"))(**request)}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": str(error) or type(error).__name__, "kind": type(error).__name__}
        with contextlib.suppress(BrokenPipeError):
            answers.write(json.dumps(answer) + "\n")


class _Handler:
    """The requests by name. One model at a time is loaded."""

    def __init__(self, framework: str, device: str) -> None:
        self.framework = framework
        self.device = device
        self.runner: Any = None
        self.model: Any = None
        self.runs: dict[str, Callable[..., Any]] = {}
        self.settings = contextlib.ExitStack()

    def start(self) -> dict[str, Any]:
        """The settings hold until the process ends; what they came to is probed while they hold."""
        self.runner = import_module(RUNNERS[self.framework])
        self.settings.enter_context(self.runner.numerics.exact(self.device))
        environment = self.runner.environment() | {"python": sys.version.split()[0]}
        return {"environment": environment, "probe": asdict(probe(self.runner.numerics))}

    def modes(self) -> list[str]:
        return list(self.runner.RUNS)

    def peak_bytes(self) -> int:
        """The largest resident memory of this process so far."""
        return _peak_kibibytes() * 1024

    def load(self, facts: dict[str, Any], weights: str, dtype: str) -> None:
        self.runs.clear()
        self.model = self.runner.load(Architecture.from_dict(facts), load_arrays(weights), dtype)

    def logits(self, mode: str, images: str, outputs: str) -> None:
        if mode not in self.runs:
            self.runs[mode] = self.runner.RUNS[mode](self.model)
        save_arrays({"logits": self.runs[mode](load_arrays(images)["images"])}, outputs)

    def trace(self, paths: list[str], images: str, outputs: str) -> None:
        save_arrays(self.runner.trace(self.model, paths)(load_arrays(images)["images"]), outputs)

    def feed(self, inputs: str, outputs: str) -> None:
        given = load_arrays(inputs)
        modules = self.runner.modules(self.model, list(given))
        save_arrays({path: module(given[path]) for path, module in modules.items()}, outputs)

    def train(self, recipe: dict[str, Any], kept: list[int], batches: str, outputs: str) -> None:
        """Keeps what the steps of those numbers, counted from 1, came to."""
        arrays = load_arrays(batches)
        known = Recipe.from_dict(recipe)
        pairs = [(arrays[f"images.{step}"], arrays[f"labels.{step}"]) for step in range(1, known.steps + 1)]
        results: dict[str, NDArray] = {}
        for step, trained in enumerate(self.runner.train(self.model, known, pairs), start=1):
            results |= results_of(step, trained.loss, trained.gradients, trained.weights, kept=step in kept)
        self.runs.clear()
        save_arrays(results, outputs)


def _peak_kibibytes() -> int:
    """Linux's own count where there is one: what getrusage gives begins with that of the process it was forked from."""
    status = Path("/proc/self/status")
    counted = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.exists() else None
    return int(counted[1]) if counted else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main(*sys.argv[1:])
