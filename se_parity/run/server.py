"""The process of a Worker: `python -m se_parity.run.server FRAMEWORK DEVICE`.

Reads one JSON request a line from standard input and writes one JSON answer a line to standard output; the framework's
own output is redirected to standard error. Arrays are passed as safetensors files, whose paths the requests contain.
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

from se_parity.recipe import Recipe
from se_parity.run.arrays import load_arrays, save_arrays
from se_parity.run.numerics import probe
from se_parity.run.runners import RUNNERS
from se_spec import Architecture


def main(framework: str, device: str) -> None:
    """Answer requests until standard input ends.

    Args:
        framework: "torch", "tf" or "flax".
        device: "cpu" or "gpu".
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    handler = _Handler(framework, device)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"result": getattr(handler, request.pop("call"))(**request)}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": str(error) or type(error).__name__, "kind": type(error).__name__}
        with contextlib.suppress(BrokenPipeError):
            answers.write(json.dumps(answer) + "\n")


class _Handler:
    """Its public methods are the requests, whose arguments and results are JSON.

    One model at a time is loaded. Its compiled forms are kept while only its weights change."""

    def __init__(self, framework: str, device: str) -> None:
        self.framework = framework
        self.device = device
        self.runner: Any = None
        self.network: tuple[Architecture, str] | None = None
        self.model: Any = None
        self.runs: dict[str, Callable[..., Any]] = {}
        self.settings = contextlib.ExitStack()

    def start(self) -> dict[str, Any]:
        """Apply the numerical settings, which last until the process ends, and measure their effect."""
        self.runner = import_module(RUNNERS[self.framework])
        self.settings.enter_context(self.runner.numerics.exact(self.device))
        environment = self.runner.environment() | {"python": sys.version.split()[0]}
        return {"environment": environment, "probe": asdict(probe(self.runner.numerics))}

    def modes(self) -> list[str]:
        return list(self.runner.MODE_FUNCTIONS)

    def peak_bytes(self) -> int:
        """The largest resident memory of this process so far."""
        return _peak_kibibytes() * 1024

    def load(self, architecture: dict[str, Any], weights: str, dtype: str) -> None:
        network = Architecture.from_dict(architecture), dtype
        if network != self.network:
            self.runs.clear()
            self.model = self.runner.build(*network)
            self.network = network
        self.runner.load_weights(self.model, load_arrays(weights))

    def logits(self, mode: str, images: str, outputs: str) -> None:
        if mode not in self.runs:
            self.runs[mode] = self.runner.MODE_FUNCTIONS[mode](self.model)
        save_arrays({"logits": self.runs[mode](load_arrays(images)["images"])}, outputs)

    def layer_outputs(self, paths: list[str], images: str, outputs: str) -> None:
        save_arrays(self.runner.layer_outputs(self.model, paths)(load_arrays(images)["images"]), outputs)

    def run_layers(self, inputs: str, outputs: str) -> None:
        arrays = load_arrays(inputs)
        layers = self.runner.layer_functions(self.model, list(arrays))
        save_arrays({path: run(arrays[path]) for path, run in layers.items()}, outputs)

    def train(self, recipe: dict[str, Any], recorded_steps: list[int], batches: str, outputs: str) -> list[str]:
        """Write the results of each step to files in the folder `outputs`; return their paths."""
        arrays = load_arrays(batches)
        settings = Recipe.from_dict(recipe)
        files: list[str] = []
        pairs = [(arrays[f"images.{step}"], arrays[f"labels.{step}"]) for step in range(1, settings.steps + 1)]
        for step, trained in enumerate(self.runner.train(self.model, settings, pairs), start=1):
            for results in trained.results(step, tensors=step in recorded_steps):
                files.append(f"{outputs}/training-{len(files)}.safetensors")
                save_arrays(results, files[-1])
        return files


def _peak_kibibytes() -> int:
    """From /proc on Linux, since getrusage includes the peak of the parent process before the fork."""
    status = Path("/proc/self/status")
    peak = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.exists() else None
    return int(peak[1]) if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main(*sys.argv[1:])
