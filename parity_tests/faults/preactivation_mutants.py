"""Mutants of a network whose norms come before its convolutions, for the parity check, as those of mutants.py."""

from typing import Any

from parity_tests.faults.mutants import Mutant, change_each, other_settings, replace_attribute


def raw_shortcut(forward: Any) -> Any:
    """The forward pass of a block whose projection takes its input, and not what its first ReLU gives."""

    def changed(self: Any, x: Any) -> Any:
        import torch

        residual = torch.relu(self.bn2(self.conv1(torch.relu(self.bn1(x)))))
        shortcut = self.downsample(self.pool(x)) if self.projects else x
        return self.se(self.conv2(residual)) + shortcut

    return changed


def activated_shortcut(call: Any) -> Any:
    """The call of a block whose shortcut takes what its first ReLU gives even where it is no convolution."""

    def changed(self: Any, x: Any, training: bool | None = None) -> Any:
        from keras import ops

        activated = ops.relu(self.bn1(x))
        residual = self.se(self.conv2(ops.relu(self.bn2(self.conv1(activated)))))
        for layer in self.downsample:
            activated = layer(activated)
        return residual + activated

    return changed


def relu_after_sum(call: Any) -> Any:
    """The call of a block that ends with a ReLU."""

    def changed(self: Any, x: Any) -> Any:
        from flax import nnx

        return nnx.relu(call(self, x))

    return changed


PREACTIVATION_MUTANTS = {
    "torch pre-activation: raw projections": Mutant(
        "torch",
        "the convolutions of shortcuts before the activation",
        "layer1.0",
        replace_attribute("se_torch.preactivation", "SEPreActBasicBlock.forward", raw_shortcut),
    ),
    "keras pre-activation: activated shortcuts": Mutant(
        "tf",
        "shortcuts without a convolution after the activation",
        "layer1.1",
        replace_attribute("se_tf.preactivation", "SEPreActBasicBlock.call", activated_shortcut),
    ),
    "flax pre-activation: a ReLU after each sum": Mutant(
        "flax",
        "",
        "layer1.0",
        replace_attribute("se_flax.preactivation", "SEPreActBasicBlock.__call__", relu_after_sum),
        why="a block that ends with a ReLU is one of the other order",
    ),
    "torch pre-activation: another epsilon": Mutant(
        "torch", "an epsilon of 0.001", "bn0", other_settings("torch", bn_epsilon=1e-3)
    ),
    "flax pre-activation: the mean of the images not loaded": Mutant(
        "flax", "running mean not loaded", "bn0", weights=change_each("bn0.running_mean", lambda mean: 0 * mean)
    ),
    "keras pre-activation: gain of the last norm not loaded": Mutant(
        "tf", "gamma not loaded", "norm", weights=change_each("norm.weight", lambda gain: 0 * gain + 1)
    ),
}
