"""The faults of a block that ports are known to have: its parts are right, and put together in another way."""

from dataclasses import dataclass

import numpy as np

from se_parity.reference.oracle import Array, Oracle
from se_spec import Block


class NoShortcut(Oracle):
    """The residual alone."""

    def add(self, block: Block, residual: Array, x: Array) -> Array:
        return super().add(block, residual, np.zeros_like(x))


class ReluBeforeSum(Oracle):
    """The residual is rectified before it is added."""

    def add(self, block: Block, residual: Array, x: Array) -> Array:
        return super().add(block, np.maximum(residual, 0.0), x)


class GateAfterSum(Oracle):
    """The gate scales the sum."""

    def add(self, block: Block, residual: Array, x: Array) -> Array:
        if not block.has_se:
            return super().add(block, residual, x)
        return self.relu(block.name, self.squeeze_excitation(f"{block.name}.se", self.ungated + x))

    def excite(self, block: Block, residual: Array) -> Array:
        self.ungated = residual
        return residual


class GateOnShortcut(Oracle):
    """The gate scales the shortcut, and is worked out from it."""

    def add(self, block: Block, residual: Array, x: Array) -> Array:
        gated = self.squeeze_excitation(f"{block.name}.se", x) if block.has_se else x
        return super().add(block, residual, gated)

    def excite(self, block: Block, residual: Array) -> Array:
        return residual


class GateBeforeNorm(Oracle):
    """The gate scales what the last norm takes."""

    def norm(self, path: str, x: Array) -> Array:
        name, _, last = path.rpartition(".")
        block = next((block for block in self.architecture.blocks() if block.name == name), None)
        if block and block.has_se and last == f"bn{len(block.convolutions)}":
            x = self.squeeze_excitation(f"{name}.se", x)
        return super().norm(path, x)

    def excite(self, block: Block, residual: Array) -> Array:
        return residual


@dataclass(frozen=True)
class BlockFault:
    """`oracle` runs a block with the fault."""

    name: str
    oracle: type[Oracle]


BLOCK_FAULTS = (
    BlockFault("no shortcut", NoShortcut),
    BlockFault("a ReLU before the sum", ReluBeforeSum),
    BlockFault("the gate after the sum", GateAfterSum),
    BlockFault("the gate on the shortcut", GateOnShortcut),
    BlockFault("the gate before the last norm", GateBeforeNorm),
)
