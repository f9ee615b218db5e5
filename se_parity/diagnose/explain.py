"""Which known fault a wrong framework has: each is planted in the oracle, and the one that gives the same wrong output
is named.

A part that is wrong by itself is explained on its true input, where nothing else is in the way; a network whose parts
are all right, on its logits.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from se_parity.case import Case
from se_parity.diagnose.faults.block_faults import BLOCK_FAULTS
from se_parity.diagnose.faults.network_faults import NETWORK_FAULTS
from se_parity.diagnose.faults.operation_faults import FAULTS, Fault
from se_parity.diagnose.localise import Localisation, Step
from se_parity.judge.difference import logit_range
from se_parity.judge.limits import FLOAT64_SHARE
from se_parity.reference.operation import Operation, operations
from se_parity.reference.oracle import Array, Observer, Oracle
from se_parity.reference.record import Record, record

EVERYWHERE = "the whole network"

NEAR = 100.0
"""A fault that stays within so many limits of the output explains it: the planted fault amplifies rounding too."""


@dataclass(frozen=True)
class Explanation:
    """A fault, the parts that it was planted in, its largest distance from what they gave as a share of the range, the
    limit of that, and how many times further off the next fault is that does something else."""

    fault: str
    places: Sequence[str]
    error: float
    limit: float
    margin: float

    @property
    def reproduces(self) -> bool:
        return self.error <= self.limit

    @property
    def says(self) -> str:
        """For a person: whether it is this fault."""
        known = "it is" if self.reproduces else "no known fault gives the same; the nearest is"
        return f"{known} {self.fault!r}"

    @property
    def nearness(self) -> str:
        """For a person: how far it stands out."""
        return f"{self.margin:.0e} times nearer than the next" if self.error else "exactly"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"reproduces": self.reproduces}


def explain(case: Case, found: Localisation) -> list[Explanation]:
    """The nearest known faults, nearest first. Those of one part that cannot be told apart all reproduce it.

    `found` is what `localise` gave for the case.
    """
    of_parts = _of_parts(case, found, record(case)) if found.faulty else []
    if of_parts and of_parts[0].reproduces and len(of_parts[0].places) == len(found.faulty):
        return of_parts
    of_the_network = _of_the_network(case, found)
    whole = [explanation for explanation in of_the_network if explanation.reproduces]
    return whole + of_parts + [explanation for explanation in of_the_network if not explanation.reproduces]


def _of_parts(case: Case, found: Localisation, truth: Record) -> list[Explanation]:
    """A fault explains as many parts as it reproduces; of those that explain most, the nearest comes first."""
    errors: dict[str, dict[str, float]] = {}
    limits = {}
    for step in found.faulty:
        limits[step.path] = _limit(step)
        for name, output in _planted_in_part(case, step, truth):
            error = _share(found.alone[step.path], output)
            errors.setdefault(name, {})[step.path] = min(error, errors.get(name, {}).get(step.path, np.inf))
    explanations = []
    for name, by_path in errors.items():
        places = [path for path, error in by_path.items() if error <= limits[path]] or [
            min(by_path, key=lambda path: by_path[path])
        ]
        worst = max(places, key=lambda path: by_path[path] / limits[path])
        others = [
            other[worst] for known, other in errors.items() if known != name and other.get(worst, 0) > limits[worst]
        ]
        margin = min(others, default=np.inf) / max(by_path[worst], np.finfo(float).tiny)
        explanations.append(Explanation(name, places, by_path[worst], limits[worst], float(margin)))
    return sorted(explanations, key=lambda one: (not one.reproduces, -len(one.places), one.error / one.limit))


def _of_the_network(case: Case, found: Localisation) -> list[Explanation]:
    truth = Oracle(case.architecture, case.weights).logits(case.images)
    floor = FLOAT64_SHARE if found.dtype == "float64" else 0.0
    rounding = max((step.running_limit for step in found.steps), default=floor)
    limit = max(min(NEAR * rounding, _share(found.logits, truth) / 10), rounding, floor)
    errors = {}
    for name, make in _whole_networks(case):
        logits = make()
        if logits.shape == truth.shape and not np.array_equal(logits, truth):
            errors[name] = _share(found.logits, logits)
    ordered = sorted(errors, key=lambda name: errors[name])
    return [
        Explanation(
            name,
            [EVERYWHERE],
            errors[name],
            limit,
            float(
                min((errors[other] for other in ordered if other != name and errors[other] > limit), default=np.inf)
                / max(errors[name], np.finfo(float).tiny)
            ),
        )
        for name in ordered
    ]


def _whole_networks(case: Case) -> Iterator[tuple[str, Callable[[], Array]]]:
    """Every fault that is not of one part, and every one planted wherever it can be."""
    for whole in NETWORK_FAULTS:
        changed = whole.case(case)
        if changed:
            yield whole.name, partial(Oracle(changed.architecture, changed.weights).logits, changed.images)
    for block in BLOCK_FAULTS:
        yield block.name, partial(block.oracle(case.architecture, case.weights).logits, case.images)
    for fault in FAULTS:
        planted = Oracle(case.architecture, case.weights, observe=planting(case, fault))
        yield fault.name, partial(planted.logits, case.images)


def planting(case: Case, fault: Fault) -> Observer:
    """An observer that plants a fault in every operation that can have it."""
    make = operations(case)

    def observe(path: str, output: Array, given: Array) -> Array:
        planted = fault.planted(make(path, output, given))
        return output if planted is None else planted

    return observe


def _planted_in_part(case: Case, step: Step, truth: Record) -> Iterator[tuple[str, Array]]:
    """What the part would give with each fault that it can have, on its true input."""
    make = operations(case)
    given, output = truth.inputs[step.path], truth.outputs[step.path]
    block = next((block for block in case.architecture.blocks() if block.name == step.path), None)
    if not block and not step.path.endswith(".se"):
        yield from _of_operation(make(step.path, output, given))
        return
    for fault in FAULTS:
        oracle = Oracle(case.architecture, case.weights, observe=planting(case, fault))
        yield fault.name, oracle.block(block, given) if block else oracle.squeeze_excitation(step.path, given)
    if block:
        for other in BLOCK_FAULTS:
            yield other.name, other.oracle(case.architecture, case.weights).block(block, given)


def _of_operation(operation: Operation) -> Iterator[tuple[str, Array]]:
    for fault in FAULTS:
        planted = fault.planted(operation)
        if planted is not None:
            yield fault.name, planted


def _limit(step: Step) -> float:
    """A fault must come a hundred times nearer than the truth is, where rounding lets it."""
    return max(min(NEAR * step.alone_limit, step.alone / 10), step.alone_limit)


def _share(output: NDArray, other: Array) -> float:
    if output.shape != other.shape:
        return float("inf")
    with np.errstate(invalid="ignore"):
        distance = np.abs(output.astype(np.float64) - other).max() / logit_range(other)
    return float(distance) if np.isfinite(distance) else float("inf")
