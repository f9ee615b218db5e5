"""Mutants of an SE-DenseNet for the parity check, as those of an SE-ResNet in mutants.py."""

from collections.abc import Callable
from typing import Any

import numpy as np

from parity_tests.faults.mutants import Mutant, change_each, other_settings, replace_attribute, swap_in_norms

BLOCK = "features.denseblock1"
FIRST = f"{BLOCK}.denselayer1"


def torch_layer(forward: Callable[[Any, Any, Any], Any]) -> Callable[[], None]:
    """Replaces the forward pass of a dense layer; `forward` gets torch, the layer and the concatenated features."""

    def make(_: Any) -> Any:
        import torch

        from se_torch.se_densenet import concatenated

        return lambda self, features: forward(torch, self, concatenated(features, self.new_first))

    return replace_attribute("se_torch.se_densenet", "SEDenseLayer.forward", make)


def keras_layer(call: Callable[[Any, Any, Any], Any]) -> Callable[[], None]:
    def make(_: Any) -> Any:
        from keras import ops

        from se_tf.se_densenet import concatenated

        return lambda self, features, training=None: call(ops, self, concatenated(features, self.new_first))

    return replace_attribute("se_tf.se_densenet", "SEDenseLayer.call", make)


def flax_layer(call: Callable[[Any, Any, Any], Any]) -> Callable[[], None]:
    def make(_: Any) -> Any:
        from flax import nnx

        from se_flax.se_densenet import concatenated

        return lambda self, features: call(nnx, self, concatenated(features, self.new_first))

    return replace_attribute("se_flax.se_densenet", "SEDenseLayer.__call__", make)


def torch_transition(forward: Callable[[Any, Any, Any], Any]) -> Callable[[], None]:
    def make(_: Any) -> Any:
        import torch

        return lambda self, x: forward(torch, self, x)

    return replace_attribute("se_torch.se_densenet", "SETransition.forward", make)


def flax_transition(call: Callable[[Any, Any, Any], Any]) -> Callable[[], None]:
    def make(_: Any) -> Any:
        from flax import nnx

        return lambda self, x: call(nnx, self, x)

    return replace_attribute("se_flax.se_densenet", "SETransition.__call__", make)


def keras_without_gates(ops: Any, self: Any, x: Any) -> Any:
    """The new features without their gates, whose variables are made as before."""
    new = self.conv2(ops.relu(self.norm2(self.conv1(ops.relu(self.norm1(x))))))
    return new + 0 * self.se(new)


def keras_max_transition() -> None:
    import keras

    from se_tf import se_densenet

    se_densenet.average_pool = lambda spec, **kwargs: keras.layers.MaxPooling2D(
        spec.kernel, spec.stride, data_format="channels_last", **kwargs
    )


def flax_block_reversed() -> None:
    """Concatenates the features of a block in the reverse order at its end, and not in its layers."""
    import jax.numpy as jnp

    from se_flax.se_densenet import SEDenseBlock

    def call(self: Any, x: Any) -> Any:
        features = [x]
        for name in self.names:
            features.append(getattr(self, name)(features))
        return jnp.concatenate(features[::-1], axis=-1)

    SEDenseBlock.__call__ = call


DENSENET_MUTANTS: dict[str, Mutant] = {
    "torch dense: new features first": Mutant(
        "torch", "new features before the others", BLOCK, other_settings("torch", new_first=True)
    ),
    "keras dense: transitions that average an odd end": Mutant(
        "tf",
        "an odd last row averaged in the transitions",
        "features.transition1",
        other_settings("tf", transition_pool="ceil"),
    ),
    "flax dense: no ReLU after the last norm": Mutant(
        "flax", "no ReLU after the last norm", "", other_settings("flax", final_relu=False)
    ),
    "torch dense: epsilon of 1e-3": Mutant(
        "torch", "an epsilon of 0.001", f"{FIRST}.norm1", other_settings("torch", bn_epsilon=1e-3)
    ),
    "keras dense: no ReLU after the first norm": Mutant(
        "tf",
        "no ReLU after the first norm",
        BLOCK,
        keras_layer(lambda ops, self, x: self.se(self.conv2(ops.relu(self.norm2(self.conv1(self.norm1(x))))))),
    ),
    "flax dense: no ReLU after the second norm": Mutant(
        "flax",
        "no ReLU after the second norm",
        BLOCK,
        flax_layer(lambda nnx, self, x: self.se(self.conv2(self.norm2(self.conv1(nnx.relu(self.norm1(x))))))),
    ),
    "torch dense: the ReLU before the norm": Mutant(
        "torch",
        "the first ReLU of each layer before its norm",
        BLOCK,
        torch_layer(
            lambda torch, self, x: self.se(self.conv2(torch.relu(self.norm2(self.conv1(self.norm1(torch.relu(x)))))))
        ),
    ),
    "keras dense: no SE": Mutant("tf", "no gate", BLOCK, keras_layer(keras_without_gates)),
    "flax dense: SE applied twice": Mutant(
        "flax",
        "",
        BLOCK,
        flax_layer(
            lambda nnx, self, x: self.se(self.se(self.conv2(nnx.relu(self.norm2(self.conv1(nnx.relu(self.norm1(x))))))))
        ),
        why="the second gate is computed from gated features, which is no known fault; the block is found",
    ),
    "torch dense: no ReLU in the transitions": Mutant(
        "torch",
        "no ReLU in the transitions",
        "features.transition1",
        torch_transition(lambda torch, self, x: self.pool(self.conv(self.norm(x)))),
    ),
    "keras dense: a max-pool in the transitions": Mutant(
        "tf", "the largest value for the mean of a pool", "features.transition1", keras_max_transition
    ),
    "flax dense: the pool before the norm": Mutant(
        "flax",
        "",
        "features.transition1",
        flax_transition(lambda nnx, self, x: self.conv(nnx.relu(self.norm(self.pool(x))))),
        why="no known fault; the transition is found",
    ),
    "flax dense: a block in the reverse order": Mutant(
        "flax",
        "",
        BLOCK,
        flax_block_reversed,
        why="only the end of each block is in another order, which is no known fault; the block is found",
    ),
    "torch dense: gamma and beta swapped": Mutant(
        "torch",
        "gamma and beta swapped",
        f"{FIRST}.norm1",
        weights=swap_in_norms("weight", "bias"),
    ),
    "keras dense: a 3x3 kernel transposed": Mutant(
        "tf",
        "kernel height and width swapped",
        f"{FIRST}.conv2",
        weights=change_each("conv2.weight", lambda kernel: kernel.transpose(0, 1, 3, 2)),
    ),
    "flax dense: the transition's kernel reversed": Mutant(
        "flax",
        "kernel inputs reversed",
        "features.transition1.conv",
        weights=change_each("conv.weight", lambda kernel: kernel[:, ::-1], "transition"),
    ),
    "torch dense: gates missing in one layer": Mutant(
        "torch",
        "",
        f"{BLOCK}.denselayer2.se.fc2",
        weights=change_each("fc2.weight", np.zeros_like, "denseblock1.denselayer2.se"),
        why="a layer whose weights are zero is no known fault of the operation; the place is found",
    ),
}
