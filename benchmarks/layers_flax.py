"""`python -m benchmarks.layers_flax`: what each convolution of a training step takes in Flax, and its gradients."""

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
        taken = seconds(convolution, workload.batch, side)
        operations = 2 * workload.batch * convolution.side(side) ** 2 * np.prod(convolution.shape)
        for step, spent in taken.items():
            totals["1x1" if convolution.kernel == 1 else "wider", step] += count * spent
        name = f"{convolution.kernel}x{convolution.kernel}/{convolution.stride}, {side}x{side}"
        channels = f"{convolution.in_channels} to {convolution.out_channels}"
        rows.append([name, channels, str(count), *(f"{operations / spent / 1e9:.0f}" for spent in taken.values())])
    print(f"GFLOP/s, {workload.network}, {workload.images}, a layer at a time, the least of {REPEATS}\n")
    print(table(["", "channels", "times", *STEPS], rows))
    for kind in ("1x1", "wider"):
        print(f"\n{kind}: " + ", ".join(f"{step} {totals[kind, step]:.2f} s" for step in STEPS), end="")
    print(" in all")


def layers(architecture: se_spec.Architecture, side: int) -> Counter[tuple[Convolution, int]]:
    """The convolutions, each with the side of its images, and how many there are."""
    found: Counter[tuple[Convolution, int]] = Counter()
    for stem in architecture.stem_convolutions:
        found[stem, side] += 1
        side = stem.side(side)
    side = architecture.max_pool.side(side) if architecture.max_pool else side
    for block in architecture.blocks():
        if block.projection:
            found[block.projection, side] += 1
        for convolution in block.convolutions:
            found[convolution, side] += 1
            side = convolution.side(side)
    return found


def seconds(convolution: Convolution, batch: int, side: int) -> dict[str, float]:
    random = np.random.default_rng(0)
    outputs, inputs, height, width = convolution.shape
    images = jax.numpy.asarray(random.normal(size=(batch, side, side, convolution.in_channels)).astype("float32"))
    kernel = jax.numpy.asarray(random.normal(size=(height, width, inputs, outputs)).astype("float32"))

    def forward(images: Array, kernel: Array) -> Array:
        return convolve(
            images,
            kernel,
            (convolution.stride,) * 2,
            [(convolution.padding,) * 2] * 2,
            feature_group_count=convolution.groups,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    above = forward(images, kernel)
    steps = (
        jax.jit(forward),
        jax.jit(lambda images, kernel: jax.vjp(lambda images: forward(images, kernel), images)[1](above)),
        jax.jit(lambda images, kernel: jax.vjp(lambda kernel: forward(images, kernel), kernel)[1](above)),
    )
    return {
        name: least(lambda step=step: jax.block_until_ready(step(images, kernel)))
        for name, step in zip(STEPS, steps, strict=True)
    }


def least(step: Callable[[], object]) -> float:
    step()
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        step()
        taken.append(time.perf_counter() - began)
    return min(taken)


if __name__ == "__main__":
    main()
