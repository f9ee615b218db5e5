"""Runs the demo: trains, converts with the `se-resnet` command, and evaluates in every framework."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import se_weights
from se_demo.digits import Digits, load_digits
from se_parity import Difference, Worker, compare
from se_parity.reference.activations import logits_and_gates
from se_parity.reference.oracle import Array
from se_parity.run.client import DISPLAY_NAMES
from se_weights import Checkpoint, MissingExtra, WeightsError

REQUIRED = ("torch", "tensorflow", "flax", "sklearn", "jinja2", "matplotlib")
"""The packages that the demo or its workers import; the extras `all` and `report` install them."""

MODELS = ("se_resnet20_cifar", "se_densenet40_cifar")
"""The architectures that can be trained, in minutes; the first one by default."""

CHECKPOINT = "digits.pth"

FRAMEWORK_OF_FILE = {
    "digits.pth": "torch",
    "digits.safetensors": "torch",
    "digits.weights.h5": "tf",
    "digits.msgpack": "flax",
}
"""The files in the order of the report, and the framework that loads each."""


@dataclass(frozen=True)
class Conversion:
    """One run of `se-resnet convert`.

    Attributes:
        file: The name of the file that was written.
        bytes: Its size.
        seconds: The time that reading, writing and reading back took.
    """

    file: str
    bytes: int
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """How one file performs on the test images in its framework.

    Attributes:
        file: The name of the file.
        framework: `torch`, `tf` or `flax`.
        accuracy: Share of the test images that are classified correctly in float32.
        labels_that_differ: How many predictions differ from those of the trained PyTorch checkpoint.
        float32: Difference of the float32 logits from the float64 reference.
        float64: Difference of the float64 logits from the float64 reference.
    """

    file: str
    framework: str
    accuracy: float
    labels_that_differ: int
    float32: Difference
    float64: Difference


@dataclass(frozen=True)
class Demo:
    """The results of the demo.

    Attributes:
        model: The name of the architecture.
        test: The test images and their labels.
        curve: Loss, training accuracy and test accuracy of each epoch.
        conversions: One for each converted file.
        evaluations: One for each file.
        reference: Logits (N, 10) of the float64 reference network with the trained weights.
        logits: float32 logits (N, 10) by file name.
        gates: Gates (N, C) of each SE layer in the reference network, by its path.
        seconds: The time that the demo took.
    """

    model: str
    test: Digits
    curve: list[dict[str, float]]
    conversions: list[Conversion]
    evaluations: list[Evaluation]
    reference: Array
    logits: dict[str, NDArray]
    gates: dict[str, Array]
    seconds: float

    @property
    def passed(self) -> bool:
        return all(
            evaluation.accuracy >= 0.97 and not evaluation.labels_that_differ and evaluation.float32.share <= 1e-5
            for evaluation in self.evaluations
        )

    def to_dict(self) -> dict[str, object]:
        """The numbers of the report, as `report.json` has them."""
        return {
            "passed": self.passed,
            "model": self.model,
            "test_images": len(self.test.labels),
            "oracle_accuracy": _accuracy(self.reference, self.test),
            "evaluations": [asdict(evaluation) for evaluation in self.evaluations],
            "conversions": [asdict(conversion) for conversion in self.conversions],
            "curve": self.curve,
            "seconds": self.seconds,
        }


STEPS = 1 + (len(FRAMEWORK_OF_FILE) - 1) + 1 + len(DISPLAY_NAMES)
"""How many times `run` calls `on_step`: training, each conversion, the reference, each framework."""


def run(folder: Path, on_step: Callable[[str], None] = lambda step: None, model: str = MODELS[0]) -> Demo:
    """Run the demo.

    Args:
        folder: Where the checkpoints are written; it is created if it does not exist.
        on_step: Called with the name of each step as it begins.
        model: The architecture, one of MODELS.

    Returns:
        What the report shows.

    Raises:
        MissingExtra: A framework or a library for the report is not installed.
        WeightsError: Training or a conversion failed.
    """
    for package in REQUIRED:
        if not find_spec(package):
            raise MissingExtra(f"the demo needs {package}", "all,report")
    began = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    on_step(f"training {model} in PyTorch")
    curve = _train(folder, model)
    conversions = []
    for file in list(FRAMEWORK_OF_FILE)[1:]:
        on_step(f"converting to {file}")
        conversions.append(_convert(folder / CHECKPOINT, folder / file))
    _, test = load_digits()
    checkpoints = {file: se_weights.read(folder / file) for file in FRAMEWORK_OF_FILE}
    on_step("running the float64 reference")
    trained = checkpoints[CHECKPOINT]
    reference, gates = logits_and_gates(trained.architecture, trained.weights, test.images)
    evaluations, logits = [], {}
    for framework, name in DISPLAY_NAMES.items():
        on_step(f"evaluating in {name}")
        with Worker(framework) as worker:
            for file in (file for file, loader in FRAMEWORK_OF_FILE.items() if loader == framework):
                outputs = _logits(worker, checkpoints[file], test)
                logits[file] = outputs["float32"]
                evaluations.append(_evaluate(file, framework, outputs, reference, logits[CHECKPOINT], test))
    return Demo(model, test, curve, conversions, evaluations, reference, logits, gates, time.perf_counter() - began)


def _train(folder: Path, model: str) -> list[dict[str, float]]:
    curve = folder / "curve.json"
    _run_command([sys.executable, "-m", "se_demo.train", str(folder / CHECKPOINT), str(curve), model])
    return json.loads(curve.read_text())


def _convert(source: Path, target: Path) -> Conversion:
    output = _run_command([sys.executable, "-m", "se_cli", "convert", str(source), str(target), "--force", "--json"])
    result = json.loads(output)
    return Conversion(target.name, result["bytes"], result["seconds"])


def _run_command(command: list[str]) -> str:
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        reason = process.stderr.strip().splitlines()[-1:] or ["no error message"]
        raise WeightsError(f"{' '.join(command[1:4])} failed: {reason[0]}")
    return process.stdout


def _logits(worker: Worker, checkpoint: Checkpoint, test: Digits) -> dict[str, NDArray]:
    """The logits of the test images by dtype."""
    logits = {}
    for dtype in ("float32", "float64"):
        worker.load(checkpoint.architecture, checkpoint.weights, dtype)
        logits[dtype] = worker.logits(test.images.astype(dtype))
    return logits


def _evaluate(
    file: str, framework: str, outputs: dict[str, NDArray], reference: Array, trained: NDArray, test: Digits
) -> Evaluation:
    """`trained` are the float32 logits of the PyTorch checkpoint that was trained."""
    return Evaluation(
        file,
        framework,
        _accuracy(outputs["float32"], test),
        int((outputs["float32"].argmax(1) != trained.argmax(1)).sum()),
        compare(reference, outputs["float32"]),
        compare(reference, outputs["float64"]),
    )


def _accuracy(logits: NDArray, test: Digits) -> float:
    return float((np.argmax(logits, axis=1) == test.labels).mean())
