"""Runs one network everywhere and judges: the same weights and images in each framework, mode and dtype."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from numpy.typing import NDArray

from se_parity.compare import Difference, compare, logit_range
from se_parity.limits import FLOAT64_SHARE, float32_share
from se_parity.oracle import Oracle
from se_parity.workers import FRAMEWORKS, Worker
from se_spec import Architecture
from se_weights import MissingExtra

PACKAGES = {"torch": "torch", "tf": "tensorflow", "flax": "flax"}
"""The package whose presence shows that a framework's extra is installed."""

DTYPES = ("float64", "float32")

# The runners hold the modes themselves, in processes of their own; a test holds this list to theirs.
MODES = {"torch": ("eager", "compile"), "tf": ("eager", "graph", "xla"), "flax": ("eager", "jit")}


@dataclass(frozen=True)
class Run:
    """One framework in one mode and dtype, against the float64 oracle."""

    framework: str
    mode: str
    dtype: str
    difference: Difference
    limit: float
    seconds: float

    @property
    def passed(self) -> bool:
        return self.difference.share <= self.limit and self.difference.same_nonfinite

    @property
    def facts(self) -> dict[str, Any]:
        named = {"framework": self.framework, "mode": self.mode, "dtype": self.dtype, "passed": self.passed}
        return {**named, "limit": self.limit, "seconds": self.seconds, **self.difference.facts}


@dataclass(frozen=True)
class Report:
    """Every run, what they were run on, and the verdict."""

    architecture: Architecture
    images: tuple[int, ...]
    logit_range: float
    environments: Mapping[str, Mapping[str, str]]
    runs: Sequence[Run]

    @property
    def passed(self) -> bool:
        return bool(self.runs) and all(run.passed for run in self.runs)

    @property
    def facts(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "architecture": self.architecture.facts,
            "images": list(self.images),
            "logit_range": self.logit_range,
            "environments": {name: dict(facts) for name, facts in self.environments.items()},
            "runs": [run.facts for run in self.runs],
        }


def installed_frameworks() -> list[str]:
    return [framework for framework in FRAMEWORKS if find_spec(PACKAGES[framework])]


def expect_installed(frameworks: Sequence[str]) -> None:
    """Raise MissingExtra, naming the pip extra, for the first framework that is not installed here."""
    for framework in frameworks:
        if framework not in installed_frameworks():
            raise MissingExtra(f"{framework} is not installed here: pip install 'se-resnet[{framework}]'")


def check_parity(
    architecture: Architecture,
    weights: Mapping[str, NDArray],
    images: NDArray,
    *,
    frameworks: Sequence[str] = FRAMEWORKS,
    modes: Sequence[str] = (),
    dtypes: Sequence[str] = DTYPES,
    device: str = "cpu",
    pythons: Mapping[str, str] | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> Report:
    """Run the network in each framework, mode and dtype, and compare the logits with the oracle's.

    `images` are (N, C, H, W). No `modes` means all; `pythons` gives a framework its own interpreter; `on_step` is
    told what comes next. Raises se_parity.workers.WorkerFailed where a framework cannot run.
    """
    pythons = pythons or {}
    on_step("the float64 oracle")
    truth = Oracle(architecture, weights).logits(images)
    limits = {"float64": FLOAT64_SHARE, "float32": float32_share(architecture, weights, images, truth)}
    environments: dict[str, dict[str, str]] = {}
    runs: list[Run] = []
    for framework in frameworks:
        on_step(f"starting {framework}")
        with Worker(framework, python=pythons.get(framework, sys.executable), device=device) as worker:
            environments[framework] = worker.environment
            for dtype in dtypes:
                worker.load(architecture, weights, dtype)
                for mode in chosen_modes(framework, modes):
                    on_step(f"{framework} {mode} {dtype}")
                    began = time.perf_counter()
                    logits = worker.logits(images.astype(dtype), mode)
                    seconds = time.perf_counter() - began
                    runs.append(Run(framework, mode, dtype, compare(truth, logits), limits[dtype], seconds))
    return Report(architecture, images.shape, logit_range(truth), environments, runs)


def chosen_modes(framework: str, modes: Sequence[str]) -> list[str]:
    """The framework's modes among those that were asked for; all of them where none was."""
    return [mode for mode in MODES[framework] if not modes or mode in modes]


def count_steps(frameworks: Sequence[str], modes: Sequence[str], dtypes: Sequence[str]) -> int:
    """How many times `check_parity` calls `on_step`."""
    runs = sum(len(chosen_modes(framework, modes)) for framework in frameworks) * len(dtypes)
    return 1 + len(frameworks) + runs
