"""`python -m benchmarks.layers_flax`: how fast each convolution of a training step in Flax is, and its gradients."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import time
from collections import Counter
from collections.abc import Callable

import jax
import numpy as np
from jax import Array

import se_spec
from benchmarks.tables import table
from benchmarks.workload import WORKLOADS
from se_flax.convolve import convolve
from se_spec import Convolution

REPEATS = 7
STEPS = ("forward", "gradient of images", "gradient of kernel")


def main() -> None:
    workload = WORKLOADS["training"]
    rows, totals = [], Counter[tuple[str, str]]()
    for (convolution, side), count in layers(se_spec.architecture(workload.network), workload.side).items():
        durations = measure_convolution(convolution, workload.batch, side)
        operations = 2 * workload.batch * convolution.side(side) ** 2 * np.prod(convolution.shape)
        for step, duration in durations.items():
            totals["1x1" if convolution.kernel == 1 else "wider", step] += count * duration
        name = f"{convolution.kernel}x{convolution.kernel}/{convolution.stride}, {side}x{side}"
        channels = f"{convolution.in_channels} to {convolution.out_channels}"
        rows.append(
            [name, channels, str(count), *(f"{operations / duration / 1e9:.0f}" for duration in durations.values())]
        )
    print(f"GFLOP/s, {workload.network}, {workload.images}, one layer at a time, the fastest of {REPEATS}\n")
    print(table(["", "channels", "count", *STEPS], rows))
    for kind in ("1x1", "wider"):
        print(f"\n{kind}: " + ", ".join(f"{step} {totals[kind, step]:.2f} s" for step in STEPS), end="")
    print(" in total")


def layers(architecture: se_spec.Architecture, side: int) -> Counter[tuple[Convolution, int]]:
    """The convolutions, each with the height and width of its input, and how often each occurs."""
    counts: Counter[tuple[Convolution, int]] = Counter()
    for stem in architecture.stem_convolutions:
        counts[stem, side] += 1
        side = stem.side(side)
    side = architecture.max_pool.side(side) if architecture.max_pool else side
    for block in architecture.blocks():
        if block.projection:
            counts[block.projection, side] += 1
        for convolution in block.convolutions:
            counts[convolution, side] += 1
            side = convolution.side(side)
    return counts


def measure_convolution(convolution: Convolution, batch: int, side: int) -> dict[str, float]:
    """Seconds of a convolution and of its two gradients."""
    random = np.random.default_rng(0)
    outputs, inputs, height, width = convolution.shape
    images = jax.numpy.asarray(random.normal(size=(batch, side, side, convolution.in_channels)).astype("float32"))
    kernel = jax.numpy.asarray(random.normal(size=(height, width, inputs, outputs)).astype("float32"))

    def forward(images: Array, kernel: Array) -> Array:
        return convolve(
            images,
            kernel,
            (convolution.stride,) * 2,
            [(convolution.paddings[0],) * 2] * 2,
            feature_group_count=convolution.groups,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    cotangent = forward(images, kernel)
    steps = (
        jax.jit(forward),
        jax.jit(lambda images, kernel: jax.vjp(lambda images: forward(images, kernel), images)[1](cotangent)),
        jax.jit(lambda images, kernel: jax.vjp(lambda kernel: forward(images, kernel), kernel)[1](cotangent)),
    )
    return {
        name: fastest(lambda step=step: jax.block_until_ready(step(images, kernel)))
        for name, step in zip(STEPS, steps, strict=True)
    }


def fastest(step: Callable[[], object]) -> float:
    """The shortest duration of several runs, after one that compiles."""
    step()
    durations = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        step()
        durations.append(time.perf_counter() - began)
    return min(durations)


if __name__ == "__main__":
    main()
