"""Find the layer at which a framework diverges from the float64 reference, and the layer that causes it.

Every layer is compared twice: as the network runs, where it inherits the errors of the layers before it, and alone, on
the reference's input, where only its own error shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from se_parity.case import Case
from se_parity.judge.difference import logit_range
from se_parity.judge.limits import FLOAT64_SHARE, UNIT_ROUNDOFF, SimulatedRounding, rounding_errors
from se_parity.reference.activations import record_activations
from se_parity.reference.oracle import Array, sigmoid
from se_parity.run.client import Worker
from se_spec import Graph, Role, layers

OPERATIONS: Mapping[type[layers.Operation], str] = {
    layers.Convolution: "convolution",
    layers.BatchNorm: "batch normalisation",
    layers.MaxPool: "max-pool",
    layers.AveragePool: "average pool",
    layers.BlurPool: "blur",
    layers.ChannelConvolution: "convolution over the channels of the gate",
}
MODULES: Mapping[type[layers.Operation], str] = {
    layers.ReLU: "residual block",
    layers.Add: "residual block",
    layers.Concat: "dense block",
    layers.AveragePool: "transition",
}
"""What a module is, by the operation that ends it."""

DENSE = {Role.GATE: "dense layer of the gate", Role.CLASSIFIER: "classifier"}


@dataclass(frozen=True)
class LayerComparison:
    """A layer's output compared with the reference. Errors and limits are shares of the range of the expected output.

    Attributes:
        path: the canonical path of the layer.
        operation: what it computes, in words.
        running: the largest error as the network runs.
        running_limit: the limit of `running`.
        alone: the largest error on the reference's input.
        alone_limit: the limit of `alone`.
    """

    path: str
    operation: str
    running: float
    running_limit: float
    alone: float
    alone_limit: float

    @property
    def diverges(self) -> bool:
        """Whether the output is wrong as the network runs."""
        return not self.running <= self.running_limit

    @property
    def fails_alone(self) -> bool:
        """Whether the output is wrong even on the reference's input."""
        return not self.alone <= self.alone_limit

    @property
    def times_limit(self) -> float:
        """The error on the reference's input, as a multiple of its limit."""
        return self.alone / self.alone_limit if self.alone_limit else float("inf")


@dataclass(frozen=True, eq=False)
class Localisation:
    """Every layer of a network in one framework and dtype, compared with the reference.

    Attributes:
        framework: "torch", "tf" or "flax".
        dtype: of the model and the images.
        layers: in the order in which the reference runs them.
        logits: (N, num_classes), of the running network.
        alone: the output of each layer on the reference's input, by canonical path.
        gates: (N, C), of the running network, by the name of the block.
    """

    framework: str
    dtype: str
    layers: Sequence[LayerComparison]
    logits: NDArray
    alone: Mapping[str, NDArray]
    gates: Mapping[str, NDArray]

    @property
    def passed(self) -> bool:
        return not any(layer.diverges or layer.fails_alone for layer in self.layers)

    @property
    def first_diverging(self) -> LayerComparison | None:
        """The first layer whose output is wrong as the network runs."""
        return next((layer for layer in self.layers if layer.diverges), None)

    @property
    def failing_layers(self) -> list[LayerComparison]:
        """The layers that are wrong on the reference's input; of nested ones the innermost."""
        failing = [layer for layer in self.layers if layer.fails_alone]
        return [layer for layer in failing if not any(inner.path.startswith(f"{layer.path}.") for inner in failing)]

    def to_dict(self) -> dict[str, Any]:
        return {
            "framework": self.framework,
            "dtype": self.dtype,
            "first": self.first_diverging.path if self.first_diverging else None,
            "faulty": [asdict(layer) | {"jump": layer.times_limit} for layer in self.failing_layers],
            "steps": [asdict(layer) for layer in self.layers],
        }


def localise(worker: Worker, case: Case, dtype: str = "float64") -> Localisation:
    """Load a case into a worker and compare every layer with the reference.

    An operation that the framework does not implement as a layer with its own path, such as a ReLU, is compared as
    part of the block that contains it.

    Args:
        worker: a running worker.
        case: rounded to the dtype (`Case.astype`).
        dtype: of the model.
    """
    worker.load(case.architecture, case.weights, dtype)
    return localise_loaded(worker, case, dtype)


def localise_loaded(worker: Worker, case: Case, dtype: str) -> Localisation:
    """`localise` for the model that a worker has already loaded, whose weights may differ from the case's.

    Args:
        worker: the worker, with a loaded model.
        case: what the model should compute.
        dtype: the dtype of the model.
    """
    reference = record_activations(case)
    operations = _operations(case.architecture.graph)
    running = worker.layer_outputs(case.images, [path for path in reference.outputs if path in operations])
    paths = [path for path in reference.outputs if path in running]
    alone = worker.run_layers({path: reference.inputs[path].astype(dtype) for path in paths})
    propagated = rounding_errors(case.architecture, case.weights, case.images, reference.outputs, dtype)
    rounding = SimulatedRounding(case.architecture, case.weights, UNIT_ROUNDOFF[dtype], [0])
    floor = FLOAT64_SHARE if dtype == "float64" else 0.0
    compared = []
    for path in paths:
        expected, x = reference.outputs[path], reference.inputs[path]
        span = logit_range(expected)
        own = propagated[path]
        if f"{path}.weight" in case.weights:
            # Twice, since the input is rounded to the dtype as well.
            own = float(np.abs(rounding(path, expected, x) - expected).max()) * 2
        compared.append(
            LayerComparison(
                path=path,
                operation=operations[path],
                running=_layer_error(running[path], expected, span),
                running_limit=max(propagated[path] / span, floor),
                alone=_layer_error(alone[path], expected, span),
                alone_limit=max(own / span, floor),
            )
        )
    gates = {
        layer: sigmoid(running[excited].astype(np.float64))
        for layer, _, excited in case.architecture.graph.gates
        if excited in running
    }
    return Localisation(worker.framework, dtype, compared, worker.logits(case.images), alone, gates)


def _operations(graph: Graph) -> dict[str, str]:
    """What each layer with its own path computes, in words."""
    operations, modules = {}, graph.module_inputs
    for node in graph.nodes:
        match node.operation:
            case layers.Scale():
                operations[node.path] = "squeeze-and-excitation"
            case layers.Dense(role=role):
                operations[node.path] = DENSE[role]
            case operation if node.path in modules:
                operations[node.path] = MODULES.get(type(operation), "module")
            case operation if type(operation) in OPERATIONS:
                operations[node.path] = OPERATIONS[type(operation)]
    return operations


def _layer_error(output: NDArray, expected: Array, span: float) -> float:
    """The largest difference as a share of the range; infinite where shapes or the places of NaNs differ."""
    if output.shape != expected.shape:
        return float("inf")
    distance = np.abs(output.astype(np.float64) - expected)
    same = np.isnan(output.astype(np.float64)) == np.isnan(expected)
    return float(np.nanmax(distance, initial=0.0) / span) if same.all() else float("inf")
