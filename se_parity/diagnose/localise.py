"""Where a framework leaves the truth: the first part of the network that does, and the part that is to blame.

Every part is looked at twice: as the network runs, where it inherits what went wrong before it, and given the true
input and nothing else, where only its own fault shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from se_parity.case import Case
from se_parity.judge.difference import logit_range
from se_parity.judge.limits import ARITHMETIC, FLOAT64_SHARE, Rounding, movements
from se_parity.reference.oracle import Array, sigmoid
from se_parity.reference.record import record
from se_parity.run.client import Worker
from se_spec import Architecture, Role, manifest

OPERATIONS = {
    Role.CONVOLUTION: "convolution",
    Role.GAMMA: "batch normalisation",
    Role.GATE: "dense layer of the gate",
    Role.CLASSIFIER: "classifier",
}


@dataclass(frozen=True)
class Step:
    """A part of the network by canonical path. Errors are the largest differences from the truth as shares of the
    range of the part's true output: `running` as the network runs, `alone` on the true input; limits likewise."""

    path: str
    operation: str
    running: float
    running_limit: float
    alone: float
    alone_limit: float

    @property
    def leaves(self) -> bool:
        return not self.running <= self.running_limit

    @property
    def faulty(self) -> bool:
        return not self.alone <= self.alone_limit

    @property
    def jump(self) -> float:
        """How many times its limit the part's own error is."""
        return self.alone / self.alone_limit if self.alone_limit else float("inf")


@dataclass(frozen=True, eq=False)
class Localisation:
    """Every part in the order of the truth's own run; what the network gave, what
    each part gave on its true input, and the gates (N, C) of every block that has some."""

    framework: str
    dtype: str
    steps: Sequence[Step]
    logits: NDArray
    alone: Mapping[str, NDArray]
    gates: Mapping[str, NDArray]

    @property
    def healthy(self) -> bool:
        return not any(step.leaves or step.faulty for step in self.steps)

    @property
    def first(self) -> Step | None:
        """The first part at which the running network leaves the truth."""
        return next((step for step in self.steps if step.leaves), None)

    @property
    def faulty(self) -> list[Step]:
        """The parts that are wrong by themselves; one that holds a wrong part is not named beside it."""
        wrong = [step for step in self.steps if step.faulty]
        return [step for step in wrong if not any(other.path.startswith(f"{step.path}.") for other in wrong)]

    def to_dict(self) -> dict[str, Any]:
        return {
            "framework": self.framework,
            "dtype": self.dtype,
            "first": self.first.path if self.first else None,
            "faulty": [asdict(step) | {"jump": step.jump} for step in self.faulty],
            "steps": [asdict(step) for step in self.steps],
        }


def localise(worker: Worker, case: Case, dtype: str = "float64") -> Localisation:
    """Compare every part of a network in a framework with the oracle's, on a case that is `stored_as` the dtype.

    Loads the case's weights into the worker. A part that the framework does not keep as a module of its own, such as
    a ReLU, is judged with the block that holds it.
    """
    worker.load(case.architecture, case.weights, dtype)
    return judge(worker, case, dtype)


def judge(worker: Worker, case: Case, dtype: str) -> Localisation:
    """`localise` for what the worker has loaded already, which need not be the case's weights."""
    truth = record(case)
    operations = _operations(case.architecture)
    paths = [path for path in truth.outputs if path in operations]
    running = worker.trace(case.images, paths)
    alone = worker.feed({path: truth.inputs[path].astype(dtype) for path in paths if path in running})
    moved = movements(case.architecture, case.weights, case.images, truth.outputs, dtype)
    rounding = Rounding(case.weights, case.architecture.bn_epsilon, ARITHMETIC[dtype], [0])
    steps = []
    for path in paths:
        if path not in running:
            continue
        true, given = truth.outputs[path], truth.inputs[path]
        span, floor = logit_range(true), FLOAT64_SHARE if dtype == "float64" else 0.0
        by_itself = moved[path]
        if f"{path}.weight" in case.weights:
            by_itself = float(np.abs(rounding(path, true, given) - true).max()) * 2  # the input was rounded too
        steps.append(
            Step(
                path=path,
                operation=operations[path],
                running=_share(running[path], true, span),
                running_limit=max(moved[path] / span, floor),
                alone=_share(alone[path], true, span),
                alone_limit=max(by_itself / span, floor),
            )
        )
    gates = {
        path.removesuffix(".se.fc2"): sigmoid(excited.astype(np.float64))
        for path, excited in running.items()
        if path.endswith(".se.fc2")
    }
    return Localisation(worker.framework, dtype, steps, worker.logits(case.images), alone, gates)


def _operations(architecture: Architecture) -> dict[str, str]:
    """What each part that has a path of its own does."""
    parts = {"maxpool": "max-pool"}
    for block in architecture.blocks():
        parts |= {
            block.name: "residual block",
            f"{block.name}.se": "squeeze-and-excitation",
            f"{block.name}.pool": "average pool of the shortcut",
        }
    for parameter in manifest(architecture):
        if parameter.role in OPERATIONS:
            parts[parameter.module] = OPERATIONS[parameter.role]
    return parts


def _share(output: Array, true: Array, span: float) -> float:
    if output.shape != true.shape:
        return float("inf")
    distance = np.abs(output.astype(np.float64) - true)
    same = np.isnan(output.astype(np.float64)) == np.isnan(true)
    return float(np.nanmax(distance, initial=0.0) / span) if same.all() else float("inf")
