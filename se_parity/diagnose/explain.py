"""Find the known fault that explains a failing framework.

Each known fault is planted in the float64 reference; the fault whose output matches the framework's is the explanation.
A layer that fails alone is explained on the reference's input, where no other fault interferes; a network whose layers
all pass is explained by its logits.
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
from se_parity.diagnose.localise import LayerComparison, Localisation
from se_parity.judge.difference import logit_range
from se_parity.judge.limits import FLOAT64_SHARE
from se_parity.reference.activations import Activations, record_activations
from se_parity.reference.operation import Operation, operations
from se_parity.reference.oracle import Array, Observer, Oracle
from se_spec.layers import Scale

WHOLE_NETWORK = "the whole network"

FAULT_AMPLIFICATION = 100.0
"""A fault may amplify rounding, so a match may differ by this multiple of the limit, if that is still far nearer than
the reference without the fault."""


@dataclass(frozen=True)
class Explanation:
    """A known fault that was planted in the reference, compared with the framework.

    Attributes:
        fault: its name.
        places: the canonical paths of the layers in which it was planted.
        error: the largest difference between the faulty reference and the framework, as a share of the range.
        limit: the largest `error` at which the fault explains the framework's output.
        margin: how many times larger the error of the next fault with a different effect is.
    """

    fault: str
    places: Sequence[str]
    error: float
    limit: float
    margin: float

    @property
    def reproduces(self) -> bool:
        """Whether the fault explains the framework's output."""
        return self.error <= self.limit

    @property
    def verdict(self) -> str:
        """The name of the fault, and whether it explains the output."""
        return f"explained by {self.fault!r}" if self.reproduces else f"no known fault matches; nearest: {self.fault!r}"

    @property
    def margin_text(self) -> str:
        return f"{self.margin:.0e} times nearer than the next" if self.error else "exactly"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"reproduces": self.reproduces}


def explain(case: Case, localisation: Localisation) -> list[Explanation]:
    """Plant every known fault in the reference and compare it with the framework.

    Args:
        case: the one that was localised.
        localisation: of a failing framework.

    Returns:
        Explanations, best first. Several may reproduce the output where faults have the same effect on a layer.
    """
    failing = localisation.failing_layers
    of_layers = _explain_layers(case, localisation, record_activations(case)) if failing else []
    if of_layers and of_layers[0].reproduces and len(of_layers[0].places) == len(failing):
        return of_layers
    of_network = _explain_network(case, localisation)
    matches = [explanation for explanation in of_network if explanation.reproduces]
    return matches + of_layers + [explanation for explanation in of_network if not explanation.reproduces]


def fault_observer(case: Case, fault: Fault) -> Observer:
    """Return an Observer that plants a fault in every operation that can have it.

    Args:
        case: the network, its weights and its images.
        fault: the fault; operations that cannot have it keep their output.
    """
    make_operation = operations(case)

    def observe(path: str, output: Array, x: Array) -> Array:
        faulty = fault.apply(make_operation(path, output, x))
        return output if faulty is None else faulty

    return observe


def _explain_layers(case: Case, localisation: Localisation, reference: Activations) -> list[Explanation]:
    """Explain the failing layers; the fault that explains most of them comes first, of several the nearest."""
    errors: dict[str, dict[str, float]] = {}
    limits = {}
    for layer in localisation.failing_layers:
        limits[layer.path] = _layer_limit(layer)
        for fault, output in _faulty_layer_outputs(case, layer.path, reference):
            by_path = errors.setdefault(fault, {})
            error = _output_error(localisation.alone[layer.path], output)
            by_path[layer.path] = min(error, by_path.get(layer.path, np.inf))
    explanations = []
    for fault, by_path in errors.items():
        places = [path for path, error in by_path.items() if error <= limits[path]] or [
            min(by_path, key=lambda path: by_path[path])
        ]
        worst = max(places, key=lambda path: by_path[path] / limits[path])
        others = [
            other[worst] for name, other in errors.items() if name != fault and other.get(worst, 0) > limits[worst]
        ]
        explanations.append(Explanation(fault, places, by_path[worst], limits[worst], _margin(others, by_path[worst])))
    return sorted(explanations, key=lambda each: (not each.reproduces, -len(each.places), each.error / each.limit))


def _explain_network(case: Case, localisation: Localisation) -> list[Explanation]:
    """Explain the logits; the nearest fault comes first."""
    expected = Oracle(case.architecture, case.weights).logits(case.images)
    floor = FLOAT64_SHARE if localisation.dtype == "float64" else 0.0
    rounding = max((layer.running_limit for layer in localisation.layers), default=floor)
    unexplained = _output_error(localisation.logits, expected)
    limit = max(min(FAULT_AMPLIFICATION * rounding, unexplained / 10), rounding, floor)
    errors = {}
    for fault, run in _faulty_networks(case):
        logits = run()
        if logits.shape == expected.shape and not np.array_equal(logits, expected):
            errors[fault] = _output_error(localisation.logits, logits)
    explanations = []
    for fault in sorted(errors, key=lambda fault: errors[fault]):
        others = [error for name, error in errors.items() if name != fault and error > limit]
        explanations.append(Explanation(fault, [WHOLE_NETWORK], errors[fault], limit, _margin(others, errors[fault])))
    return explanations


def _margin(others: Sequence[float], error: float) -> float:
    return float(min(others, default=np.inf) / max(error, np.finfo(float).tiny))


def _faulty_networks(case: Case) -> Iterator[tuple[str, Callable[[], Array]]]:
    """Each known fault by name, with a function that runs the network with the fault wherever it can occur."""
    for network_fault in NETWORK_FAULTS:
        faulty = network_fault.case(case)
        if faulty:
            yield network_fault.name, partial(Oracle(faulty.architecture, faulty.weights).logits, faulty.images)
    for name, oracle in _faulty_connections(case):
        yield name, partial(oracle.logits, case.images)
    for fault in FAULTS:
        oracle = Oracle(case.architecture, case.weights, observe=fault_observer(case, fault))
        yield fault.name, partial(oracle.logits, case.images)


def _faulty_connections(case: Case) -> Iterator[tuple[str, Oracle]]:
    """Each known fault of a block by name, with the reference that has it in every block."""
    for fault in BLOCK_FAULTS:
        graph = fault.faulty_graph(case.architecture.graph)
        yield fault.name, Oracle(case.architecture, case.weights, graph=graph)


def _faulty_layer_outputs(case: Case, path: str, reference: Activations) -> Iterator[tuple[str, Array]]:
    """The output of a layer on the reference's input with each fault that it can have."""
    x, output = reference.inputs[path], reference.outputs[path]
    if path not in case.architecture.graph.module_inputs:
        yield from _faulty_operation_outputs(operations(case)(path, output, x))
        return
    for fault in FAULTS:
        oracle = Oracle(case.architecture, case.weights, observe=fault_observer(case, fault))
        yield fault.name, oracle.module(path, x)
    (operation,) = (node.operation for node in case.architecture.graph.nodes if node.path == path)
    if not isinstance(operation, Scale):  # a block, and not an SE layer
        for name, oracle in _faulty_connections(case):
            yield name, oracle.module(path, x)


def _faulty_operation_outputs(operation: Operation) -> Iterator[tuple[str, Array]]:
    for fault in FAULTS:
        faulty = fault.apply(operation)
        if faulty is not None:
            yield fault.name, faulty


def _layer_limit(layer: LayerComparison) -> float:
    """The largest error of a match: ten times nearer than the reference without the fault, where rounding allows it."""
    return max(min(FAULT_AMPLIFICATION * layer.alone_limit, layer.alone / 10), layer.alone_limit)


def _output_error(output: NDArray, expected: Array) -> float:
    """The largest difference as a share of the range; infinite where shapes differ or a value is not finite."""
    if output.shape != expected.shape:
        return float("inf")
    with np.errstate(invalid="ignore"):
        distance = np.abs(output.astype(np.float64) - expected).max() / logit_range(expected)
    return float(distance) if np.isfinite(distance) else float("inf")
