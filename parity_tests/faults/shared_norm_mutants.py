"""Mutants of a network whose convolutions share a norm for the parity check, as those of others in mutants.py."""

from typing import Any

from parity_tests.faults.mutants import Mutant, replace_attribute


def without_second_norm(forward: Any) -> Any:
    """The forward pass of a basic block that does not apply the shared norm again."""

    def changed(self: Any, x: Any) -> Any:
        import torch

        residual = self.conv2(torch.relu(self.bn1(self.conv1(x))))
        return torch.relu(self.se(residual) + self.downsample(x))

    return changed


def fresh_second_norm(call: Any) -> Any:
    """The call of a basic block whose second norm has gains of one and biases of zero."""

    def changed(self: Any, x: Any) -> Any:
        from flax import nnx

        residual = self.conv2(nnx.relu(self.bn1(self.conv1(x))))
        fresh = (residual - self.bn1.mean[...]) / (self.bn1.var[...] + self.bn1.epsilon) ** 0.5
        for layer in self.downsample:
            x = layer(x)
        return nnx.relu(self.se(fresh) + x)

    return changed


SHARED_NORM_MUTANTS = {
    "torch shared norm: not applied again": Mutant(
        "torch",
        "no norm after the second convolution",
        "layer1.0",
        replace_attribute("se_torch.se_resnet", "SEBasicBlock.forward", without_second_norm),
    ),
    "flax shared norm: gamma and beta of the first use only": Mutant(
        "flax",
        "",
        "layer1.0",
        replace_attribute("se_flax.se_resnet", "SEBasicBlock.__call__", fresh_second_norm),
        why="it is gamma and beta not loaded, but for one of the two uses",
    ),
}
