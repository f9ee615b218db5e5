"""Workers: a process for each framework, and the client that sends it requests.

No import order is safe for all three frameworks, and on a GPU their CUDA requirements conflict. Settings that must
precede an import are environment variables of the process, which may run under its own Python interpreter.
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
from se_parity.run.arrays import ArrayFiles, load_arrays, save_arrays
from se_parity.run.numerics import Probe
from se_spec import Architecture

COMMON_ENVIRONMENT = {"NVIDIA_TF32_OVERRIDE": "0", "PYTHONWARNINGS": "ignore"}

FRAMEWORK_ENVIRONMENT = {
    "torch": {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
    "tf": {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_FORCE_GPU_ALLOW_GROWTH": "true"},
    "flax": {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_CPP_MIN_LOG_LEVEL": "3"},
}
"""Full float32 in NVIDIA's libraries, deterministic sums, GPU memory allocated as needed, and no log messages."""

GPU_ENVIRONMENT = {"XLA_FLAGS": "--xla_gpu_deterministic_ops=true"}
"""By default XLA chooses its kernels by timing them; with this it uses deterministic ones only (openxla PR 12520)."""

FRAMEWORKS = tuple(FRAMEWORK_ENVIRONMENT)

DISPLAY_NAMES = {"torch": "PyTorch", "tf": "Keras", "flax": "Flax"}


class WorkerFailed(Exception):
    """A worker process ended or could not carry out a request.

    Attributes:
        kind: the name of the exception in the worker, or "Ended".
    """

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class Worker:
    """A framework in a separate process. Use it as a context manager; the process ends with the context.

    One model at a time is loaded: `load` builds it, and the other methods run it.

    Args:
        framework: "torch", "tf" or "flax".
        python: the interpreter, which needs se-resnet and the framework installed.
        device: "cpu" or "gpu".
        variables: environment variables of the process, which override those of this module.
        program: the module that the process runs.

    Attributes:
        environment: the versions and the device that the process reported, as text by name.
        probe: the measured precision of the framework; None until the context is entered.

    Raises:
        WorkerFailed: entering the context or any method, where the process ended or reported an error.
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
        environment = COMMON_ENVIRONMENT | FRAMEWORK_ENVIRONMENT[framework]
        environment |= GPU_ENVIRONMENT if device == "gpu" else {}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [python, "-m", program, framework, device],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **environment, **(variables or {})},
            )
        self.environment: dict[str, str] = {}
        self.probe: Probe | None = None
        self.written_weights: Mapping[str, NDArray] | None = None

    def __enter__(self) -> Self:
        try:
            started = self._request("start")
            self.environment, self.probe = started["environment"], Probe(**started["probe"])
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def kill(self) -> None:
        """End the process; a call that waits for it in another thread raises WorkerFailed."""
        self.process.kill()

    def close(self) -> None:
        """End the process and delete its files."""
        self.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):  # closing flushes what the process has not read
                    pipe.close()
        self.folder.cleanup()

    def modes(self) -> list[str]:
        """The names of the modes that the framework's runner implements."""
        return self._request("modes")

    def load(self, architecture: Architecture, weights: Mapping[str, NDArray], dtype: str) -> None:
        """Load the weights of the model that the following calls run, and build it where the last was another.

        Args:
            architecture: the network.
            weights: by canonical name, with canonical axes.
            dtype: of the model's parameters: "float64", "float32" or "bfloat16".
        """
        if weights is not self.written_weights:
            self._write("weights", weights)
            self.written_weights = weights
        self._request("load", architecture=architecture.to_dict(), weights=self._file("weights"), dtype=dtype)

    def logits(self, images: NDArray, mode: str = "eager") -> NDArray:
        """Run the loaded model in a mode.

        Args:
            images: (N, C, H, W).
            mode: the name of a mode of the framework (se_parity.run.modes).

        Returns:
            Logits (N, num_classes), or the pooled features (N, features) where num_classes is 0.
        """
        outputs = self._file("logits")
        self._request("logits", mode=mode, images=self._write("images", {"images": images}), outputs=outputs)
        return load_arrays(outputs)["logits"]

    def layer_outputs(self, images: NDArray, paths: Sequence[str]) -> dict[str, NDArray]:
        """Run the loaded model and record the outputs of its layers.

        Args:
            images: (N, C, H, W).
            paths: canonical paths, such as "layer1.0.conv2".

        Returns:
            Outputs (N, C, H, W) or (N, C) by canonical path; paths that are not a layer of the model are left out.
        """
        outputs = self._file("outputs")
        request = {"paths": list(paths), "images": self._write("images", {"images": images})}
        self._request("layer_outputs", **request, outputs=outputs)
        return load_arrays(outputs)

    def run_layers(self, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Run layers of the loaded model separately, each on its own input.

        Args:
            inputs: (N, C, H, W) or (N, C) by canonical path.

        Returns:
            Outputs (N, C, H, W) or (N, C) by canonical path.
        """
        outputs = self._file("outputs")
        self._request("run_layers", inputs=self._write("inputs", inputs), outputs=outputs)
        return load_arrays(outputs)

    def train(
        self, recipe: Recipe, batches: Sequence[tuple[NDArray, NDArray]], recorded_steps: Sequence[int]
    ) -> Mapping[str, NDArray]:
        """Train the loaded model.

        Args:
            recipe: the optimiser and its settings.
            batches: images (N, C, H, W) and labels (N) for each step.
            recorded_steps: the steps, counted from 1, whose gradients and weights are returned.

        Returns:
            `STEP/loss` of every step, and `STEP/gradient/NAME` and `STEP/weight/NAME` of the recorded steps. They are
            read from files of the worker when they are used, until it is closed or trains again.
        """
        arrays: dict[str, NDArray] = {}
        for step, (images, labels) in enumerate(batches, start=1):
            arrays |= {f"images.{step}": images, f"labels.{step}": labels}
        request = {"recipe": recipe.to_dict(), "recorded_steps": list(recorded_steps)}
        batches_file = self._write("batches", arrays)
        return ArrayFiles(self._request("train", **request, batches=batches_file, outputs=self.folder.name))

    def peak_bytes(self) -> int:
        """The largest resident memory of the process so far."""
        return self._request("peak_bytes")

    def _file(self, name: str) -> str:
        return str(Path(self.folder.name, f"{name}.safetensors"))

    def _write(self, name: str, arrays: Mapping[str, NDArray]) -> str:
        save_arrays(arrays, self._file(name))
        return self._file(name)

    def _request(self, call: str, **arguments: Any) -> Any:
        """Send one request and wait for its result."""
        assert self.process.stdin
        assert self.process.stdout
        try:
            self.process.stdin.write(json.dumps({"call": call, **arguments}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            last = self.log.read_text(errors="replace").strip().splitlines()[-1:] or ["no message on standard error"]
            raise WorkerFailed(f"the {self.framework} worker ended: {last[0]}", "Ended")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerFailed(f"{self.framework}: {answer['error']}", answer["kind"])
        return answer["result"]
