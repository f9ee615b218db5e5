"""The gates that the oracle works out on its way to the logits."""

from collections.abc import Mapping

from numpy.typing import NDArray

from se_parity.oracle import Array, Oracle
from se_spec import Architecture


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
