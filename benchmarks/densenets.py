"""Compares our DenseNet-121 with torchvision's and with keras.applications', and measures what recomputation saves.

`python -m benchmarks.densenets torch` needs torchvision in the same environment, `python -m benchmarks.densenets tf`
Keras; both run the two networks in turns, and print the median time of each and the median of their ratios.
`python -m benchmarks.densenets memory torch` (or `tf`, `flax`) prints by how much the largest resident size of a
process grows that trains one step, with and without recomputation; each runs in a process of its own. XLA merges a
recomputation with the first computation on CPUs, where `memory flax` shows no difference; `python -m
benchmarks.densenets residuals` prints the size of what JAX would keep for the backward pass elsewhere.
"""

import contextlib
import io
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

THREADS, BATCH, SIDE, ROUNDS = 2, 8, 224, 20
RNG = np.random.default_rng(0)

Steps = dict[str, tuple[Callable[[], object], Callable[[], object]]]
"""For a forward pass and for a training step, ours and the peer's."""


def torch_steps() -> Steps:
    import torch
    import torchvision

    import se_torch

    torch.set_num_threads(THREADS)
    images = torch.tensor(RNG.normal(size=(BATCH, 3, SIDE, SIDE)).astype(np.float32))
    labels = torch.arange(BATCH)

    def forward(model: torch.nn.Module) -> Callable[[], object]:
        def step() -> object:
            model.eval()
            with torch.inference_mode():
                return model(images)

        return step

    def train(model: torch.nn.Module) -> Callable[[], object]:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

        def step() -> object:
            model.train()
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(images), labels).backward()
            return optimizer.step()

        return step

    ours, peer = se_torch.create_model("densenet121"), torchvision.models.densenet121()
    return {"forward": (forward(ours), forward(peer)), "training": (train(ours), train(peer))}


def tf_steps() -> Steps:
    import keras
    import tensorflow as tf

    import se_tf

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    images = tf.constant(RNG.normal(size=(BATCH, SIDE, SIDE, 3)).astype(np.float32))
    labels = tf.range(BATCH)

    def forward(model: keras.Model) -> Callable[[], object]:
        function = tf.function(lambda x: model(x, training=False))
        return lambda: function(images).numpy()

    def train(model: keras.Model, from_logits: bool) -> Callable[[], object]:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
        model.compile(optimizer=keras.optimizers.SGD(0.01, 0.9), loss=loss, jit_compile=False)
        return lambda: model.train_on_batch(images, labels)

    ours, peer = se_tf.create_model("densenet121"), keras.applications.DenseNet121(weights=None)
    return {"forward": (forward(ours), forward(peer)), "training": (train(ours, True), train(peer, False))}


def compare(steps: Steps) -> None:
    for name, pair in steps.items():
        for step in pair:
            step()
        seconds: tuple[list[float], list[float]] = [], []
        for turn in range(ROUNDS):
            for each in (0, 1) if turn % 2 else (1, 0):  # so that neither always runs after the other
                start = time.perf_counter()
                pair[each]()
                seconds[each].append(time.perf_counter() - start)
        ours, peer = seconds
        ratio = statistics.median(mine / theirs for mine, theirs in zip(ours, peer, strict=True))
        print(
            f"{name}: ours {statistics.median(ours):.2f} s, the peer {statistics.median(peer):.2f} s, ratio {ratio:.3f}"
        )


def train_once(framework: str, memory_efficient: bool) -> None:
    """Train one step of se_densenet121, and print the largest resident size of this process before and after it."""
    from importlib import import_module

    import se_spec
    from se_parity.recipe import Recipe

    runner = import_module(f"se_parity.run.runners.run_{framework}")
    architecture = se_spec.architecture("se_densenet121", memory_efficient=memory_efficient)
    model = runner.build(architecture, "float32")
    weights = {each.name: np.ones(each.shape, np.float32) * 0.01 for each in se_spec.manifest(architecture)}
    runner.load_weights(model, weights)
    batch = RNG.normal(size=(BATCH, 3, SIDE, SIDE)).astype(np.float32), np.arange(BATCH)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    for _ in runner.train(model, Recipe(learning_rates=(0.01,)), [batch]):
        pass
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{framework}, memory_efficient={memory_efficient}: {(after - before) / 1024:,.0f} MiB, {seconds:.1f} s")


def residuals(memory_efficient: bool) -> None:
    """Print the size of what JAX keeps from the forward pass of se_densenet121 for its backward pass."""
    import jax
    import jax.numpy as jnp
    from flax import nnx
    from jax.ad_checkpoint import print_saved_residuals

    import se_flax

    model = se_flax.create_model("se_densenet121", memory_efficient=memory_efficient, rngs=nnx.Rngs(0))
    model.train()
    graph, parameters, rest = nnx.split(model, nnx.Param, ...)

    def loss(parameters: nnx.State, images: jax.Array) -> jax.Array:
        return jnp.mean(nnx.merge(graph, parameters, rest, copy=True)(images) ** 2)

    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        print_saved_residuals(loss, parameters, jnp.zeros((BATCH, SIDE, SIDE, 3)))
    shapes = re.findall(r"^f32\[([\d,]*)\]", text.getvalue(), re.MULTILINE)
    size = sum(np.prod([int(side) for side in shape.split(",") if side]) * 4 for shape in shapes)
    print(f"memory_efficient={memory_efficient}: {size / 2**20:,.0f} MiB in {len(shapes)} arrays")


def main() -> None:
    match sys.argv[1:]:
        case ["torch"]:
            compare(torch_steps())
        case ["tf"]:
            compare(tf_steps())
        case ["memory", framework]:
            for memory_efficient in ("", "efficient"):
                subprocess.run([sys.executable, "-m", __spec__.name, "once", framework, memory_efficient], check=True)
        case ["residuals"]:
            for efficient in (False, True):
                residuals(efficient)
        case ["once", framework, memory_efficient]:
            train_once(framework, bool(memory_efficient))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
