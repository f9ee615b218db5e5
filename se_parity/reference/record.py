"""What the oracle sees on its way to the logits."""

from collections.abc import Mapping
from dataclasses import dataclass

from numpy.typing import NDArray

from se_parity.case import Case
from se_parity.reference.oracle import Array, Oracle
from se_spec import Architecture


@dataclass(frozen=True, eq=False)
class Record:
    """What the oracle saw of a case: the input and the output of every part, by path, in the order they were made."""

    inputs: dict[str, Array]
    outputs: dict[str, Array]


def record(case: Case) -> Record:
    """The oracle's own run. The input of a block is what the part before it gave."""
    inputs, outputs = {}, {}

    def observe(path: str, output: Array, given: Array) -> Array:
        inputs[path], outputs[path] = given, output
        return output

    Oracle(case.architecture, case.weights, observe=observe).logits(case.images)
    before = "maxpool" if case.architecture.max_pool else f"relu{len(case.architecture.stem_convolutions)}"
    for block in case.architecture.blocks():
        inputs[block.name] = outputs[before]
        before = block.name
    return Record(inputs, outputs)


def logits_and_gates(
    architecture: Architecture, weights: Mapping[str, NDArray], images: NDArray
) -> tuple[Array, dict[str, Array]]:
    """The oracle's logits, and the gates (N, C) of every SE layer by block."""
    gates: dict[str, Array] = {}

    def observe(path: str, output: Array, given: Array) -> Array:
        if path.endswith(".se.gate"):
            gates[path.removesuffix(".se.gate")] = output
        return output

    return Oracle(architecture, weights, observe=observe).logits(images), gates
