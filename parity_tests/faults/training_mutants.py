"""Mutants for the parity check of training: one fault planted in how one framework trains.

parity_tests.faults.mutants does the same for inference.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from parity_tests.faults.mutants import replace_attribute, torch_gate


@dataclass(frozen=True)
class TrainingMutant:
    """A fault in training, and what the diagnosis must say about it.

    Attributes:
        framework: The framework with the fault.
        fault: Name that the diagnosis must give the fault; empty where it cannot name it.
        plant: Plants the fault in the framework, in the worker process.
        optimiser: The optimiser that the network is trained with, "sgd" or "adamw".
        dtype: The dtype that the network is trained in.
        offset: Added to the biases of the first convolution.
        shared_norms: Whether the first two convolutions of each block share a norm.
        why: Where `fault` is empty: why it cannot be named.
    """

    framework: str
    fault: str
    plant: Callable[[], None]
    optimiser: str = "sgd"
    dtype: str = "float64"
    offset: float = 0.0
    shared_norms: bool = False
    why: str = ""


def torch_momentum(momentum: float) -> Callable[[], None]:
    def make(init: Any) -> Any:
        def changed(self: Any, *args: Any, **kwargs: Any) -> None:
            init(self, *args, **{**kwargs, "momentum": momentum})

        return changed

    return replace_attribute("torch", "nn.BatchNorm2d.__init__", make)


def torch_optimizer(name: str, **changes: Any) -> Callable[[], None]:
    return replace_attribute(
        "torch", f"optim.{name}", lambda kind: lambda *args, **kwargs: kind(*args, **{**kwargs, **changes})
    )


def framework_batch_norm(module: str, method: str) -> Callable[[], None]:
    """Restores the framework's own batch norm, which keeps the biased variance."""

    def plant() -> None:
        from importlib import import_module

        kind = import_module(module).BatchNorm
        setattr(kind, method, getattr(kind.__mro__[1], method))

    return plant


def constant_statistics() -> None:
    """Stops the gradient through the mean and variance of the batch."""
    import jax
    from flax import nnx

    from se_flax.layers import BatchNorm

    original = BatchNorm.__call__

    def call(self: Any, x: Any, **kwargs: Any) -> Any:
        constant = jax.lax.stop_gradient(x)
        original(self, constant, **kwargs)
        if self.use_running_average:
            return original(self, x)
        mean, variance = constant.mean(axis=(0, 1, 2)), constant.var(axis=(0, 1, 2))
        return (x - mean) * jax.lax.rsqrt(variance + self.epsilon) * self.scale[...] + self.bias[...]

    nnx.BatchNorm.__call__, BatchNorm.__call__ = nnx.BatchNorm.__call__, call


def detached_shortcuts() -> None:
    """Stops the gradient through identity shortcuts."""
    import torch

    from se_torch.se_resnet import SEBottleneck

    def forward(self: Any, x: Any) -> Any:
        residual = torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))
        residual = self.se(self.bn3(self.conv3(residual)))
        return torch.relu(residual + (self.downsample(x) if len(self.downsample) else x.detach()))

    SEBottleneck.forward = forward


def keras_momentum() -> None:
    """Restores the momentum of keras.optimizers.SGD, with our coupled weight decay."""
    import keras

    from se_tf.optimizers import SGD

    def step(self: Any, gradient: Any, variable: Any, learning_rate: Any) -> None:
        keras.optimizers.SGD.update_step(self, gradient + self.coupled_decay * variable, variable, learning_rate)

    SGD.update_step = step


def keras_adamw() -> None:
    import keras

    from se_tf.optimizers import AdamW

    AdamW.update_step = keras.optimizers.AdamW.update_step


def optax_decoupled() -> None:
    import optax

    from se_flax import optimizers

    optimizers.sgd = lambda rate, momentum, decay: optax.chain(
        optax.trace(momentum), optax.add_decayed_weights(decay), optax.scale_by_learning_rate(rate)
    )


def optax_adamw(change: Callable[[Any, Any, Any, Any, Any], Any]) -> Callable[[], None]:
    def plant() -> None:
        import optax

        from se_flax import optimizers

        optimizers.adamw = lambda rate, betas, epsilon, decay: change(optax, rate, betas, epsilon, decay)

    return plant


def _uncorrected(optax: Any, betas: Any, epsilon: float) -> Any:
    import jax

    def moved(gradient: Any, mean: Any, square: Any) -> Any:
        return mean / (square**0.5 + epsilon)

    def init(parameters: Any) -> Any:
        return tuple(jax.tree.map(lambda array: array * 0, parameters) for _ in betas)

    def update(gradients: Any, state: Any, parameters: Any = None) -> Any:
        mean = jax.tree.map(lambda m, g: betas[0] * m + (1 - betas[0]) * g, state[0], gradients)
        square = jax.tree.map(lambda s, g: betas[1] * s + (1 - betas[1]) * g**2, state[1], gradients)
        return jax.tree.map(moved, gradients, mean, square), (mean, square)

    return optax.GradientTransformation(init, update)


def torch_first_rate() -> None:
    import torch

    original = torch.optim.SGD.step

    def step(self: Any, *args: Any) -> Any:
        for group in self.param_groups:
            group["lr"] = self.defaults["lr"]
        return original(self, *args)

    torch.optim.SGD.step = step


def fast_variance() -> None:
    from flax import nnx

    original = nnx.BatchNorm.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **{**kwargs, "use_fast_variance": True})

    nnx.BatchNorm.__init__ = init


def second_use_not_counted(forward: Any) -> Any:
    """The forward pass of a bottleneck whose shared norm keeps its statistics when it is used again."""

    def changed(self: Any, x: Any) -> Any:
        import torch

        from se_torch.layers import kept_statistics

        residual = self.conv2(torch.relu(self.bn1(self.conv1(x))))
        with kept_statistics(self.bn1):
            residual = torch.relu(self.bn1(residual))
        return torch.relu(self.se(self.bn3(self.conv3(residual))) + self.downsample(x))

    return changed


def smoothed_labels() -> None:
    import jax
    import optax

    def smoothed(logits: Any, labels: Any) -> Any:
        soft = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), 0.1)
        return optax.softmax_cross_entropy(logits, soft)

    optax.softmax_cross_entropy_with_integer_labels = smoothed


TRAINING_MUTANTS = {
    "keras: momentum read backwards": TrainingMutant(
        "tf", "the momentum read backwards", replace_attribute("se_spec", "BATCH_NORM_MOMENTUM", lambda _: 0.9)
    ),
    "keras: a biased running variance": TrainingMutant(
        "tf", "a biased running variance", framework_batch_norm("se_tf.layers", "call")
    ),
    "flax: a biased running variance": TrainingMutant(
        "flax", "a biased running variance", framework_batch_norm("se_flax.layers", "__call__")
    ),
    "torch: a momentum of 0.99": TrainingMutant("torch", "a momentum of 0.99", torch_momentum(0.01)),
    "torch: running statistics not updated": TrainingMutant(
        "torch", "running statistics not updated", torch_momentum(0.0)
    ),
    "torch: a shared norm updated once": TrainingMutant(
        "torch",
        "a shared norm updated at its first use only",
        replace_attribute("se_torch.se_resnet", "SEBottleneck.forward", second_use_not_counted),
        shared_norms=True,
    ),
    "torch: no gradient into the gates": TrainingMutant(
        "torch",
        "no gradient into the gates",
        torch_gate(
            lambda torch, self, z: torch.sigmoid(self.fc2(torch.relu(self.fc1(z)))).detach() + 0 * self.fc2(self.fc1(z))
        ),
    ),
    "flax: the batch's statistics taken for constants": TrainingMutant(
        "flax", "the batch's statistics taken for constants", constant_statistics
    ),
    "torch: no gradient through identity shortcuts": TrainingMutant(
        "torch", "no gradient through identity shortcuts", detached_shortcuts
    ),
    "torch: the loss summed": TrainingMutant(
        "torch",
        "the loss summed over the batch",
        replace_attribute(
            "torch", "nn.functional.cross_entropy", lambda original: lambda x, y: original(x, y, reduction="sum")
        ),
    ),
    "flax: labels smoothed": TrainingMutant("flax", "labels smoothed by a tenth", smoothed_labels),
    "keras: Keras's own momentum": TrainingMutant("tf", "the rate inside the momentum", keras_momentum),
    "flax: decay apart from the gradient": TrainingMutant("flax", "decay apart from the gradient", optax_decoupled),
    "torch: no weight decay": TrainingMutant("torch", "no weight decay", torch_optimizer("SGD", weight_decay=0.0)),
    "torch: Nesterov's momentum": TrainingMutant("torch", "Nesterov's momentum", torch_optimizer("SGD", nesterov=True)),
    "torch: a dampened momentum": TrainingMutant("torch", "a dampened momentum", torch_optimizer("SGD", dampening=0.9)),
    "torch: the learning rate not changed": TrainingMutant("torch", "the learning rate not changed", torch_first_rate),
    "torch: Adam for AdamW": TrainingMutant(
        "torch",
        "decay in the gradient",
        replace_attribute("torch", "optim.AdamW", lambda _: __import__("torch").optim.Adam),
        "adamw",
    ),
    "keras: Keras's own AdamW": TrainingMutant("tf", "epsilon beside the uncorrected root", keras_adamw, "adamw"),
    "flax: an epsilon of 1e-7": TrainingMutant(
        "flax",
        "an epsilon of 1e-7",
        optax_adamw(lambda optax, rate, betas, epsilon, decay: optax.adamw(rate, *betas, 1e-7, weight_decay=decay)),
        "adamw",
    ),
    "flax: no bias correction": TrainingMutant(
        "flax",
        "no bias correction",
        optax_adamw(
            lambda optax, rate, betas, epsilon, decay: optax.chain(
                _uncorrected(optax, betas, epsilon),
                optax.add_decayed_weights(decay),
                optax.scale_by_learning_rate(rate),
            )
        ),
        "adamw",
    ),
    "flax: the fast variance": TrainingMutant(
        "flax",
        "",
        fast_variance,
        dtype="float32",
        offset=3000.0,
        why="what is lost depends on the order of the sums, so that no other program gives the same",
    ),
}
