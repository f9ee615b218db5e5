"""Known faults of a residual block: its layers are right, but connected in another way."""

from dataclasses import dataclass

import numpy as np

from se_parity.reference.oracle import Array, Oracle
from se_spec import Block


class NoShortcut(Oracle):
    """The output is the residual branch alone."""

    def add(self, block: Block, residual: Array, x: Array) -> Array:
        return super().add(block, residual, np.zeros_like(x))


class ReluBeforeSum(Oracle):
    """A ReLU is applied to the residual branch before the sum."""

    def add(self, block: Block, residual: Array, x: Array) -> Array:
        return super().add(block, np.maximum(residual, 0.0), x)


class GateAfterSum(Oracle):
    """The SE gate scales the sum instead of the residual branch."""

    def add(self, block: Block, residual: Array, x: Array) -> Array:
        if not block.has_se:
            return super().add(block, residual, x)
        return self.relu(block.name, self.squeeze_excitation(f"{block.name}.se", self.ungated + x))

    def excite(self, block: Block, residual: Array) -> Array:
        self.ungated = residual
        return residual


class GateOnShortcut(Oracle):
    """The SE gate is computed from the shortcut and scales it, instead of the residual branch."""

    def add(self, block: Block, residual: Array, x: Array) -> Array:
        gated = self.squeeze_excitation(f"{block.name}.se", x) if block.has_se else x
        return super().add(block, residual, gated)

    def excite(self, block: Block, residual: Array) -> Array:
        return residual


class GateBeforeNorm(Oracle):
    """The SE gate scales the input of the last batch norm instead of its output."""

    def norm(self, path: str, x: Array) -> Array:
        name, _, leaf = path.rpartition(".")
        block = next((block for block in self.architecture.blocks() if block.name == name), None)
        if block and block.has_se and leaf == f"bn{len(block.convolutions)}":
            x = self.squeeze_excitation(f"{name}.se", x)
        return super().norm(path, x)

    def excite(self, block: Block, residual: Array) -> Array:
        return residual


@dataclass(frozen=True)
class BlockFault:
    """A fault of every block of a network.

    Attributes:
        name: the name in explanations.
        oracle: the reference network with the fault.
    """

    name: str
    oracle: type[Oracle]


BLOCK_FAULTS = (
    BlockFault("no shortcut", NoShortcut),
    BlockFault("a ReLU before the sum", ReluBeforeSum),
    BlockFault("the gate after the sum", GateAfterSum),
    BlockFault("the gate on the shortcut", GateOnShortcut),
    BlockFault("the gate before the last norm", GateBeforeNorm),
)
