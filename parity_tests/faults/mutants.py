"""Mutants for the parity check: one fault planted in the weights, model, images or arithmetic of one framework.

A fault is planted inside a worker process (parity_tests.faults.planted_worker), or in the weights that only that
framework loads. The parity check must detect every mutant; the diagnosis must find the faulty layer and name the fault.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = Mapping[str, NDArray]


def plant_nothing() -> None:
    """Leave the framework as it is."""


def unchanged(weights: Weights) -> Weights:
    return weights


@dataclass(frozen=True)
class Mutant:
    """A fault, and what the diagnosis must say about it.

    Attributes:
        framework: The framework with the fault.
        fault: Name that the diagnosis must give the fault; empty where it cannot name it.
        place: Path of the first faulty layer; empty where the network as a whole is wrong.
        plant: Plants the fault in the framework, in the worker process.
        weights: Changes the weights that the framework loads.
        why: Where `fault` is empty: why it cannot be named.
    """

    framework: str
    fault: str
    place: str = ""
    plant: Callable[[], None] = plant_nothing
    weights: Callable[[Weights], Weights] = unchanged
    why: str = ""


def replace_attribute(module: str, name: str, make: Callable[[Any], Any]) -> Callable[[], None]:
    """A `plant` that replaces an attribute of a module, or of a class in it, by what `make` returns for it."""

    def plant() -> None:
        from importlib import import_module

        owner: Any = import_module(module)
        *classes, attribute = name.split(".")
        for class_name in classes:
            owner = getattr(owner, class_name)
        setattr(owner, attribute, make(getattr(owner, attribute)))

    return plant


# --- changes of weights ---------------------------------------------------------------------------------------------


def change_each(suffix: str, change: Callable[[NDArray], NDArray], within: str = "") -> Callable[[Weights], Weights]:
    """Changes every parameter whose name ends in `suffix` and contains `within`."""

    def changed(weights: Weights) -> Weights:
        return {
            name: change(array).astype(array.dtype) if name.endswith(suffix) and within in name else array
            for name, array in weights.items()
        }

    return changed


def swap_in_norms(one: str, other: str, within: str = "") -> Callable[[Weights], Weights]:
    """Swaps two parameters of every norm whose path contains `within`."""

    def changed(weights: Weights) -> Weights:
        new = dict(weights)
        for name in weights:
            path = name.removesuffix(".running_mean")
            if name != path and within in path:
                new[f"{path}.{one}"], new[f"{path}.{other}"] = weights[f"{path}.{other}"], weights[f"{path}.{one}"]
        return new

    return changed


def swap_blocks(one: str, other: str) -> Callable[[Weights], Weights]:
    """Swaps the parameters of two blocks."""

    def changed(weights: Weights) -> Weights:
        new = dict(weights)
        for name in weights:
            if name.startswith(f"{one}."):
                twin = name.replace(one, other, 1)
                new[name], new[twin] = weights[twin], weights[name]
        return new

    return changed


# --- changes of models ----------------------------------------------------------------------------------------------


def torch_epsilon(within: str, epsilon: float) -> Callable[[], None]:
    def make(init: Any) -> Any:
        def changed(self: Any, *args: Any, **kwargs: Any) -> None:
            init(self, *args, **kwargs)
            for name, module in self.named_modules():
                if hasattr(module, "eps") and within in name:
                    module.eps = epsilon

        return changed

    return replace_attribute("se_torch.se_resnet", "SEResNet.__init__", make)


def torch_gate(gate: Callable[[Any, Any, Any], Any]) -> Callable[[], None]:
    """Replaces SELayer.gate; `gate` gets the torch module, the layer and the squeezed input."""

    def make(_: Any) -> Any:
        import torch

        return lambda self, x: gate(torch, self, x.mean(dim=tuple(range(2, x.ndim))))

    return replace_attribute("se_torch.se_layer", "SELayer.gate", make)


def keras_gate(gate: Callable[[Any, Any, Any], Any], squeeze: str = "mean") -> Callable[[], None]:
    def make(_: Any) -> Any:
        from keras import ops

        return lambda self, x: gate(ops, self, getattr(ops, squeeze)(x, axis=(1, 2)))

    return replace_attribute("se_tf.se_layer", "SELayer.gate", make)


def flax_gate(gate: Callable[[Any, Any, Any], Any]) -> Callable[[], None]:
    def make(_: Any) -> Any:
        from flax import nnx

        return lambda self, x: gate(nnx, self, x.mean(axis=(1, 2)))

    return replace_attribute("se_flax.se_layer", "SELayer.gate", make)


def torch_bottleneck(forward: Callable[[Any, Any, Any], Any]) -> Callable[[], None]:
    def make(_: Any) -> Any:
        import torch

        return lambda self, x: forward(torch, self, x)

    return replace_attribute("se_torch.se_resnet", "SEBottleneck.forward", make)


def keras_bottleneck(call: Callable[[Any, Any, Any], Any]) -> Callable[[], None]:
    def make(_: Any) -> Any:
        from keras import ops

        return lambda self, x, training=None: call(ops, self, x)

    return replace_attribute("se_tf.se_resnet", "SEBottleneck.call", make)


def flax_bottleneck(call: Callable[[Any, Any, Any], Any]) -> Callable[[], None]:
    def make(_: Any) -> Any:
        from flax import nnx

        return lambda self, x: call(nnx, self, x)

    return replace_attribute("se_flax.se_resnet", "SEBottleneck.__call__", make)


def shortcut(self: Any, x: Any) -> Any:
    """The shortcut of a block in Keras and Flax."""
    x = self.pool(x)
    for layer in self.downsample:
        x = layer(x)
    return x


def residual_branch(relu: Any, self: Any, x: Any) -> Any:
    """The residual branch of a bottleneck up to the last norm."""
    x = relu(self.bn1(self.conv1(x)))
    return self.bn3(self.conv3(relu(self.bn2(self.conv2(x)))))


def keras_same_padding() -> None:
    import keras

    from se_tf import layers

    def call(self: Any, inputs: Any) -> Any:
        self.padding = "same"
        return keras.layers.Conv2D.call(self, inputs)

    layers.Convolution.call = call


CALLS = {"torch": "forward", "tf": "__call__", "flax": "__call__"}


def other_settings(framework: str, **settings: Any) -> Callable[[], None]:
    """Builds the model with other settings than the requested ones; names and shapes are the same."""

    def make(build: Any) -> Any:
        return lambda architecture, dtype: build(architecture.replace(**settings), dtype)

    return replace_attribute(f"se_parity.run.runners.run_{framework}", "build", make)


def other_images(framework: str, change: Callable[[Any], Any]) -> Callable[[], None]:
    """Changes the images before the network; `change` gets them in the layout of the framework."""

    def make(call: Any) -> Any:
        return lambda self, images, *args, **kwargs: call(self, change(images), *args, **kwargs)

    return replace_attribute(f"se_{framework}.se_resnet", f"SEResNet.{CALLS[framework]}", make)


def torch_rounded_products(bits: int) -> Callable[[], None]:
    """Rounds the operands of convolutions and linear layers to this many bits of mantissa, as TF32 does to 10."""

    def plant() -> None:
        import torch

        from se_parity.diagnose.faults.operation_faults import round_mantissa

        def rounded(x: Any) -> Any:
            return torch.tensor(round_mantissa(bits, x.detach().numpy()), dtype=x.dtype)

        conv, linear = torch.nn.functional.conv2d, torch.nn.functional.linear
        torch.nn.functional.conv2d = lambda x, w, *args: conv(rounded(x), rounded(w), *args)
        torch.nn.functional.linear = lambda x, w, *args: linear(rounded(x), rounded(w), *args)

    return plant


def flax_bfloat16_products() -> None:
    """Rounds the operands of convolutions and linear layers to bfloat16."""
    import jax
    from flax import nnx

    def rounded(x: Any) -> Any:
        return jax.lax.reduce_precision(x, 8, 7)

    for layer in (nnx.Conv, nnx.Linear):
        call = layer.__call__

        def changed(self: Any, x: Any, call: Any = call) -> Any:
            variable = self.kernel
            exact = variable[...]
            variable.set_value(rounded(exact))
            try:
                return call(self, rounded(x))
            finally:
                variable.set_value(exact)

        layer.__call__ = changed


def flax_training_statistics() -> None:
    from flax import nnx

    from se_flax import layers

    layers.BatchNorm.__call__ = lambda self, x, **kwargs: nnx.BatchNorm.__call__(self, x, use_running_average=False)


def torch_without_first_relu() -> None:
    """Leaves out the ReLU of the stem."""
    from se_torch.se_resnet import SEResNet

    SEResNet.stem = lambda self, images: self.maxpool(self.bn1(self.conv1(images)))


def keras_max_head() -> None:
    import keras

    keras.layers.GlobalAveragePooling2D = keras.layers.GlobalMaxPooling2D


MUTANTS: dict[str, Mutant] = {
    "torch: epsilon of 1e-3": Mutant("torch", "an epsilon of 0.001", "bn1", torch_epsilon("", 1e-3)),
    "torch: epsilon of 1e-6": Mutant("torch", "an epsilon of 1e-06", "bn1", torch_epsilon("", 1e-6)),
    "torch: another epsilon in the shortcuts": Mutant(
        "torch", "an epsilon of 2e-05", "layer1.0.downsample.1", torch_epsilon("downsample", 2e-5)
    ),
    "keras: lopsided padding": Mutant("tf", "lopsided padding", "conv1", keras_same_padding),
    "torch: no ReLU in the excitation": Mutant(
        "torch",
        "no ReLU in the excitation",
        "layer1.0.se",
        torch_gate(lambda torch, self, z: torch.sigmoid(self.fc2(self.fc1(z)))),
    ),
    "torch: a hard sigmoid": Mutant(
        "torch",
        "a hard sigmoid of slope 1/6",
        "layer1.0.se",
        torch_gate(lambda torch, self, z: torch.nn.functional.hardsigmoid(self.fc2(torch.relu(self.fc1(z))))),
    ),
    "keras: Keras 2's hard sigmoid": Mutant(
        "tf",
        "a hard sigmoid of slope 1/5",
        "layer1.0.se",
        keras_gate(lambda ops, self, z: ops.clip(0.2 * self.fc2(ops.relu(self.fc1(z))) + 0.5, 0, 1)),
    ),
    "flax: a softmax for the sigmoid": Mutant(
        "flax",
        "a softmax for the sigmoid",
        "layer1.0.se",
        flax_gate(lambda nnx, self, z: nnx.softmax(self.fc2(nnx.relu(self.fc1(z))))),
    ),
    "flax: a tanh for the sigmoid": Mutant(
        "flax",
        "a tanh for the sigmoid",
        "layer1.0.se",
        flax_gate(lambda nnx, self, z: nnx.tanh(self.fc2(nnx.relu(self.fc1(z))))),
    ),
    "torch: no sigmoid": Mutant(
        "torch", "no sigmoid", "layer1.0.se", torch_gate(lambda torch, self, z: self.fc2(torch.relu(self.fc1(z))))
    ),
    "keras: the largest value squeezed": Mutant(
        "tf",
        "the largest value squeezed for the mean",
        "layer1.0.se",
        keras_gate(lambda ops, self, z: ops.sigmoid(self.fc2(ops.relu(self.fc1(z)))), "max"),
    ),
    "flax: no gate": Mutant(
        "flax",
        "no gate",
        "layer1.0.se",
        flax_gate(lambda nnx, self, z: 1 + 0 * self.fc2(self.fc1(z))),
    ),
    "torch: the gate applied twice": Mutant(
        "torch",
        "the gate applied twice",
        "layer1.0.se",
        torch_gate(lambda torch, self, z: torch.sigmoid(self.fc2(torch.relu(self.fc1(z)))) ** 2),
    ),
    "flax: the gate after the sum": Mutant(
        "flax",
        "the gate after the sum",
        "layer1.0",
        flax_bottleneck(lambda nnx, self, x: nnx.relu(self.se(residual_branch(nnx.relu, self, x) + shortcut(self, x)))),
    ),
    "torch: the gate before the last norm": Mutant(
        "torch",
        "the gate before the last norm",
        "layer1.0",
        torch_bottleneck(
            lambda torch, self, x: torch.relu(
                self.bn3(self.se(self.conv3(torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))))))
                + self.downsample(x)
            )
        ),
    ),
    "keras: the gate on the shortcut": Mutant(
        "tf",
        "the gate on the shortcut",
        "layer1.0",
        keras_bottleneck(
            lambda ops, self, x: ops.relu(residual_branch(ops.relu, self, x) + self.se(shortcut(self, x)))
        ),
    ),
    "keras: no shortcut": Mutant(
        "tf",
        "no shortcut",
        "layer1.0",
        keras_bottleneck(
            lambda ops, self, x: ops.relu(self.se(residual_branch(ops.relu, self, x)) + 0 * shortcut(self, x))
        ),
    ),
    "flax: a ReLU before the sum": Mutant(
        "flax",
        "a ReLU before the sum",
        "layer1.0",
        flax_bottleneck(
            lambda nnx, self, x: nnx.relu(nnx.relu(self.se(residual_branch(nnx.relu, self, x))) + shortcut(self, x))
        ),
    ),
    "torch: no ReLU after the sum": Mutant(
        "torch",
        "no ReLU after the sum",
        "layer1.0",
        torch_bottleneck(lambda torch, self, x: self.se(residual_branch(torch.relu, self, x)) + self.downsample(x)),
    ),
    "keras: no ReLU after the first norm": Mutant(
        "tf",
        "no ReLU after the first norm",
        "layer1.0",
        keras_bottleneck(
            lambda ops, self, x: ops.relu(
                self.se(self.bn3(self.conv3(ops.relu(self.bn2(self.conv2(self.bn1(self.conv1(x))))))))
                + shortcut(self, x)
            )
        ),
    ),
    "flax: no ReLU after the second norm": Mutant(
        "flax",
        "no ReLU after the second norm",
        "layer1.0",
        flax_bottleneck(
            lambda nnx, self, x: nnx.relu(
                self.se(self.bn3(self.conv3(self.bn2(self.conv2(nnx.relu(self.bn1(self.conv1(x))))))))
                + shortcut(self, x)
            )
        ),
    ),
    "flax: the batch's statistics": Mutant(
        "flax", "the statistics of the batch instead of the running ones", "bn1", flax_training_statistics
    ),
    "torch: no ReLU in the stem": Mutant("torch", "no ReLU in the stem", "", torch_without_first_relu),
    "keras: the largest value in the head": Mutant(
        "tf", "the largest value for the mean in the head", "", keras_max_head
    ),
    "torch: TF32": Mutant("torch", "TF32", "conv1", torch_rounded_products(10)),
    "flax: bfloat16 products": Mutant("flax", "bfloat16 products", "conv1", flax_bfloat16_products),
    "flax: the stride in the first 1x1": Mutant(
        "flax", "the stride in the first 1x1", "layer2.0.conv1", other_settings("flax", stride_in="conv1")
    ),
    "keras: the pool aligned as Caffe's": Mutant(
        "tf", "the max-pool aligned as 'ceil'", "maxpool", other_settings("tf", stem={"pool": "ceil"})
    ),
    "torch: a ReLU before every squeeze": Mutant(
        "torch", "a ReLU before every squeeze", "layer1.0", other_settings("torch", squeeze={"after_relu": True})
    ),
    "flax: shortcuts that average": Mutant(
        "flax", "shortcuts that average", "layer2.0.downsample.0", other_settings("flax", shortcut={"averages": True})
    ),
    "torch: BGR": Mutant("torch", "channels reversed (BGR)", "", other_images("torch", lambda images: images.flip(1))),
    "keras: images mirrored": Mutant(
        "tf", "images mirrored", "", other_images("tf", lambda images: images[:, :, ::-1])
    ),
    "flax: images 255 times too large": Mutant(
        "flax", "images 255 times too large", "", other_images("flax", lambda images: images * 255)
    ),
    "flax: beta and running mean swapped": Mutant(
        "flax", "beta and running mean swapped", "bn1", weights=swap_in_norms("bias", "running_mean")
    ),
    "torch: gamma and running variance swapped": Mutant(
        "torch", "gamma and running variance swapped", "bn1", weights=swap_in_norms("weight", "running_var")
    ),
    "keras: gamma and beta swapped in one norm": Mutant(
        "tf", "gamma and beta swapped", "layer2.1.bn2", weights=swap_in_norms("weight", "bias", "layer2.1.bn2")
    ),
    "keras: running statistics not loaded": Mutant(
        "tf",
        "running statistics not loaded",
        "bn1",
        weights=lambda weights: change_each("running_mean", np.zeros_like)(
            change_each("running_var", np.ones_like)(weights)
        ),
    ),
    "torch: running variances not loaded": Mutant(
        "torch", "running variance not loaded", "bn1", weights=change_each("running_var", np.ones_like)
    ),
    "flax: a standard deviation for the variance": Mutant(
        "flax", "a standard deviation taken for the variance", "bn1", weights=change_each("running_var", np.sqrt)
    ),
    "torch: kernels' height and width swapped": Mutant(
        "torch",
        "kernel height and width swapped",
        "layer2.0.conv2",
        weights=change_each("conv2.weight", lambda kernel: kernel.swapaxes(2, 3), "layer2.0"),
    ),
    "keras: kernels turned by 180 degrees": Mutant(
        "tf",
        "kernel turned by 180 degrees",
        "conv1",
        weights=change_each("conv1.weight", lambda kernel: kernel[:, :, ::-1, ::-1]),
    ),
    "flax: inputs and outputs of a square kernel swapped": Mutant(
        "flax",
        "kernel inputs and outputs swapped",
        "layer1.0.conv2",
        weights=change_each("conv2.weight", lambda kernel: kernel.swapaxes(0, 1), "layer1.0"),
    ),
    "torch: a square gate not transposed": Mutant(
        "torch",
        "a square matrix not transposed",
        "layer2.0.se.fc1",
        weights=change_each("se.fc1.weight", lambda matrix: matrix.T, "layer2.0"),
    ),
    "keras: biases of the gates missing": Mutant(
        "tf", "bias missing", "layer1.0.se.fc1", weights=change_each(".bias", np.zeros_like, ".se.fc")
    ),
    "flax: the classifier's bias missing": Mutant(
        "flax", "bias missing", "fc", weights=change_each("fc.bias", np.zeros_like)
    ),
    "torch: the last gammas zero": Mutant(
        "torch", "gamma zero", "layer1.0.bn3", weights=change_each("bn3.weight", np.zeros_like)
    ),
    "keras: betas missing": Mutant("tf", "beta missing", "bn1", weights=change_each(".bias", np.zeros_like, "bn")),
    "torch: neighbouring blocks swapped": Mutant(
        "torch", "neighbouring blocks swapped", "layer2.1.conv1", weights=swap_blocks("layer2.1", "layer2.2")
    ),
    "torch: one variance off by a ten thousandth": Mutant(
        "torch",
        "",
        "layer3.0.bn3",
        weights=change_each("running_var", lambda variance: variance * 1.0001, "layer3.0.bn3"),
        why="a number that is off by a little is no known fault; the place is found",
    ),
    "keras: one weight of a kernel lost": Mutant(
        "tf",
        "",
        "layer2.0.conv3",
        weights=change_each("conv3.weight", lambda kernel: np.where(kernel == kernel.max(), 0, kernel), "layer2.0"),
        why="a number that is lost is no known fault; the place is found",
    ),
    "flax: float16 weights": Mutant(
        "flax",
        "weights kept in float16",
        "conv1",
        weights=change_each("weight", lambda array: array.astype(np.float16)),
    ),
}
