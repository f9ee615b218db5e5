"""The demo from end to end: train, convert with the public command, evaluate everywhere, report."""

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

NEEDED = {
    "torch": "torch",
    "tensorflow": "tf",
    "flax": "flax",
    "sklearn": "report",
    "jinja2": "report",
    "matplotlib": "report",
}
"""The packages that the demo imports, here or in its workers, and the extra that brings each."""

CHECKPOINT = "digits.pth"

READERS = {"digits.pth": "torch", "digits.safetensors": "torch", "digits.weights.h5": "tf", "digits.msgpack": "flax"}
"""The files in the order of the table, and the framework that each is loaded into."""


@dataclass(frozen=True)
class Conversion:
    """One run of `se-resnet convert`, which reads its file back before it is done."""

    file: str
    bytes: int
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """One file in its framework on the test scans; differences are from the float64 reference."""

    file: str
    framework: str
    accuracy: float
    labels_that_differ: int
    float32: Difference
    float64: Difference


@dataclass(frozen=True)
class Demo:
    """Everything that the report shows."""

    test: Digits
    curve: list[dict[str, float]]
    conversions: list[Conversion]
    evaluations: list[Evaluation]
    truth: Array
    logits: dict[str, NDArray]
    gates: dict[str, Array]
    seconds: float

    @property
    def passed(self) -> bool:
        return all(
            evaluation.accuracy >= 0.97 and not evaluation.labels_that_differ and evaluation.float32.share <= 1e-5
            for evaluation in self.evaluations
        )


STEPS = 1 + (len(READERS) - 1) + 1 + len(DISPLAY_NAMES)
"""How many times `run` calls `on_step`."""


def run(folder: Path, on_step: Callable[[str], None] = lambda step: None) -> Demo:
    """Leave the checkpoints in `folder`, and return what was measured.

    Raises se_weights.MissingExtra where a framework or a report library is not installed.
    """
    for package, extra in NEEDED.items():
        if not find_spec(package):
            raise MissingExtra(
                f"the demo needs {package}: pip install 'se-resnet[{extra}]', or 'se-resnet[all,report]'"
            )
    began = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    on_step("training se_resnet20_cifar in PyTorch")
    curve = _train(folder)
    conversions = []
    for file in list(READERS)[1:]:
        on_step(f"converting to {file}")
        conversions.append(_convert(folder / CHECKPOINT, folder / file))
    _, test = load_digits()
    checkpoints = {file: se_weights.read(folder / file) for file in READERS}
    on_step("float64 reference")
    trained = checkpoints[CHECKPOINT]
    truth, gates = logits_and_gates(trained.architecture, trained.weights, test.images)
    evaluations, logits = [], {}
    for framework, name in DISPLAY_NAMES.items():
        on_step(f"evaluating in {name}")
        with Worker(framework) as worker:
            for file in (file for file, reader in READERS.items() if reader == framework):
                outputs = _outputs(worker, checkpoints[file], test)
                logits[file] = outputs["float32"]
                evaluations.append(_evaluation(file, framework, outputs, truth, logits[CHECKPOINT], test))
    return Demo(test, curve, conversions, evaluations, truth, logits, gates, time.perf_counter() - began)


def facts(demo: Demo) -> dict[str, object]:
    """The numbers of the report, for `report.json`."""
    return {
        "passed": demo.passed,
        "test_images": len(demo.test.labels),
        "oracle_accuracy": _accuracy(demo.truth, demo.test),
        "evaluations": [asdict(evaluation) for evaluation in demo.evaluations],
        "conversions": [asdict(conversion) for conversion in demo.conversions],
        "curve": demo.curve,
        "seconds": demo.seconds,
    }


def _train(folder: Path) -> list[dict[str, float]]:
    curve = folder / "curve.json"
    _call([sys.executable, "-m", "se_demo.train", str(folder / CHECKPOINT), str(curve)])
    return json.loads(curve.read_text())


def _convert(source: Path, target: Path) -> Conversion:
    answer = _call([sys.executable, "-m", "se_cli", "convert", str(source), str(target), "--force", "--json"])
    measured = json.loads(answer)
    return Conversion(target.name, measured["bytes"], measured["seconds"])


def _call(command: list[str]) -> str:
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        reason = process.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise WeightsError(f"{' '.join(command[1:4])} failed: {reason[0]}")
    return process.stdout


def _outputs(worker: Worker, checkpoint: Checkpoint, test: Digits) -> dict[str, NDArray]:
    outputs = {}
    for dtype in ("float32", "float64"):
        worker.load(checkpoint.architecture, checkpoint.weights, dtype)
        outputs[dtype] = worker.logits(test.images.astype(dtype))
    return outputs


def _evaluation(
    file: str, framework: str, outputs: dict[str, NDArray], truth: Array, first: NDArray, test: Digits
) -> Evaluation:
    return Evaluation(
        file,
        framework,
        _accuracy(outputs["float32"], test),
        int((outputs["float32"].argmax(1) != first.argmax(1)).sum()),
        compare(truth, outputs["float32"]),
        compare(truth, outputs["float64"]),
    )


def _accuracy(logits: NDArray, test: Digits) -> float:
    return float((np.argmax(logits, axis=1) == test.labels).mean())
