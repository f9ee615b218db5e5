"""One process a framework: no import order is safe for all three, and on a GPU their CUDA pins conflict.

Settings that must precede an import are environment variables of the process. It may run under a Python of its own.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from se_parity.recipe import Recipe
from se_parity.run.arrays import load_arrays, save_arrays
from se_parity.run.numerics import Probe
from se_spec import Architecture

EVERYWHERE = {"NVIDIA_TF32_OVERRIDE": "0", "PYTHONWARNINGS": "ignore"}

ENVIRONMENTS = {
    "torch": {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
    "tf": {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_FORCE_GPU_ALLOW_GROWTH": "true"},
    "flax": {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_CPP_MIN_LOG_LEVEL": "3"},
}
"""Full float32 inside NVIDIA's libraries, repeatable sums, memory as it is needed, and quiet."""

ON_GPU = {"XLA_FLAGS": "--xla_gpu_deterministic_ops=true"}
"""XLA chooses its kernels by timing them, unless it may only use those that repeat (openxla PR 12520)."""

FRAMEWORKS = tuple(ENVIRONMENTS)

NAMES = {"torch": "PyTorch", "tf": "Keras", "flax": "Flax"}
"""What a person calls them."""


class WorkerFailed(Exception):
    """A worker could not do what it was asked; `kind` is the name of the error on its side."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class Worker:
    """A framework in a process of its own. Use it as a context manager.

    `python` is the interpreter, which needs se-resnet and the framework installed; `variables` go into its
    environment after this module's own. `program` is the module that the process runs.
    """

    def __init__(
        self,
        framework: str,
        *,
        python: str = sys.executable,
        device: str = "cpu",
        variables: Mapping[str, str] | None = None,
        program: str = "se_parity.run.server",
    ) -> None:
        self.framework = framework
        self.folder = tempfile.TemporaryDirectory(prefix="se-resnet-")
        self.log = Path(self.folder.name, "stderr.txt")
        settings = ON_GPU if device == "gpu" else {}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [python, "-m", program, framework, device],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **EVERYWHERE, **ENVIRONMENTS[framework], **settings, **(variables or {})},
            )
        self.environment: dict[str, str] = {}
        self.probe: Probe | None = None
        self.written: Mapping[str, NDArray] | None = None

    def __enter__(self) -> Self:
        try:
            started = self._ask("start")
            self.environment, self.probe = started["environment"], Probe(**started["probe"])
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):  # what was written and never read is flushed here
                    pipe.close()
        self.folder.cleanup()

    def modes(self) -> list[str]:
        return self._ask("modes")

    def load(self, architecture: Architecture, weights: Mapping[str, NDArray], dtype: str) -> None:
        """Build the model that the next calls run."""
        if weights is not self.written:
            self._put("weights", weights)
            self.written = weights
        self._ask("load", facts=architecture.to_dict(), weights=self._path("weights"), dtype=dtype)

    def logits(self, images: NDArray, mode: str = "eager") -> NDArray:
        """Images (N, C, H, W) to logits (N, num_classes)."""
        path = self._path("logits")
        self._ask("logits", mode=mode, images=self._put("images", {"images": images}), outputs=path)
        return load_arrays(path)["logits"]

    def trace(self, images: NDArray, paths: Sequence[str]) -> dict[str, NDArray]:
        """The outputs (N, C, H, W) or (N, C) of those parts of the model that the canonical paths name, as it runs."""
        path = self._path("outputs")
        self._ask("trace", paths=list(paths), images=self._put("images", {"images": images}), outputs=path)
        return load_arrays(path)

    def feed(self, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """The outputs of the parts of the model by canonical path, each given its own input and nothing else."""
        path = self._path("outputs")
        self._ask("feed", inputs=self._put("inputs", inputs), outputs=path)
        return load_arrays(path)

    def train(
        self, recipe: Recipe, batches: Sequence[tuple[NDArray, NDArray]], kept: Sequence[int]
    ) -> dict[str, NDArray]:
        """Train the loaded model, a batch of images (N, C, H, W) and labels (N) a step.

        Gives `STEP/loss` of every step, counted from 1, and `STEP/gradient/NAME` and `STEP/weight/NAME` after the
        steps that are kept.
        """
        numbered = list(enumerate(batches, start=1))
        arrays = {f"images.{step}": images for step, (images, _) in numbered}
        arrays |= {f"labels.{step}": labels for step, (_, labels) in numbered}
        path = self._path("outputs")
        self._ask("train", recipe=recipe.to_dict(), kept=list(kept), batches=self._put("batches", arrays), outputs=path)
        return load_arrays(path)

    def peak_bytes(self) -> int:
        """The largest resident memory of the process so far."""
        return self._ask("peak_bytes")

    def _path(self, name: str) -> str:
        return str(Path(self.folder.name, f"{name}.safetensors"))

    def _put(self, name: str, arrays: Mapping[str, NDArray]) -> str:
        save_arrays(arrays, self._path(name))
        return self._path(name)

    def _ask(self, call: str, **arguments: Any) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        try:
            self.process.stdin.write(json.dumps({"call": call, **arguments}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            last = self.log.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
            raise WorkerFailed(f"the {self.framework} worker ended: {last[0]}", "Ended")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerFailed(f"{self.framework}: {answer['error']}", answer["kind"])
        return answer["result"]
