"""The inputs and outputs of every operation in the float64 reference."""

from collections.abc import Mapping
from dataclasses import dataclass

from numpy.typing import NDArray

from se_parity.case import Case
from se_parity.reference.oracle import Array, Oracle
from se_spec import Architecture


@dataclass(frozen=True, eq=False)
class Activations:
    """The inputs and outputs of every operation, by canonical path, in the order in which they run.

    Attributes:
        inputs: (N, C, H, W) or (N, C) by path.
        outputs: (N, C, H, W) or (N, C) by path.
    """

    inputs: dict[str, Array]
    outputs: dict[str, Array]


def record_activations(case: Case) -> Activations:
    """Run the reference on a case and record its activations; the input of a module is what its operations take."""
    inputs, outputs = {}, {}

    def observe(path: str, output: Array, x: Array) -> Array:
        inputs[path], outputs[path] = x, output
        return output

    Oracle(case.architecture, case.weights, observe=observe).logits(case.images)
    for module, path in case.architecture.graph.module_inputs.items():
        inputs[module] = outputs[path]
    return Activations(inputs, outputs)


def logits_and_gates(
    architecture: Architecture, weights: Mapping[str, NDArray], images: NDArray
) -> tuple[Array, dict[str, Array]]:
    """Run the reference, and record the gates of its SE layers.

    Args:
        architecture: the network.
        weights: by canonical name.
        images: (N, C, H, W).

    Returns:
        The logits (N, num_classes), and the gates (N, C) of every SE layer by its path.
    """
    layers = {gate: layer for layer, gate, _ in architecture.graph.gates}
    gates: dict[str, Array] = {}

    def observe(path: str, output: Array, x: Array) -> Array:
        if path in layers:
            gates[layers[path]] = output
        return output

    return Oracle(architecture, weights, observe=observe).logits(images), gates
