"""Subjects in Flax NNX."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from collections.abc import Callable

import flax
import jax
import numpy as np
import optax
from flax import nnx

import se_flax
from benchmarks.workload import Workload
from se_flax.inference import fold_batchnorm, optimize_for_inference

Step = Callable[[], object]


def versions() -> dict[str, str]:
    return {"jax": jax.__version__, "flax": flax.__version__}


def ours(workload: Workload) -> nnx.Module:
    model = se_flax.create_model(workload.network)
    model.eval()
    return model


def without_se(workload: Workload) -> nnx.Module:
    model = se_flax.create_model(workload.network.removeprefix("se_"))
    model.eval()
    return model


def images(workload: Workload) -> jax.Array:
    shape = workload.batch, workload.side, workload.side, 3
    return jax.numpy.asarray(np.random.default_rng(0).normal(size=shape).astype("float32"))


def forward(model: nnx.Module, workload: Workload) -> Step:
    given = images(workload)
    function = nnx.cached_partial(nnx.jit(lambda model, x: model(x)), model)
    return lambda: function(given).block_until_ready()


def deployed(workload: Workload, dtype: str | None = None) -> Step:
    function, given = optimize_for_inference(ours(workload), dtype=dtype), images(workload)
    return lambda: function(given).block_until_ready()


def training(model: nnx.Module, workload: Workload) -> Step:
    """A step of SGD with momentum, compiled."""
    model.train()
    given, labels = images(workload), jax.numpy.arange(workload.batch)
    optimizer = nnx.Optimizer(model, optax.sgd(0.01, 0.9), wrt=nnx.Param)

    def loss(model: nnx.Module) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(model(given), labels).mean()

    @nnx.jit
    def update(model: nnx.Module, optimizer: nnx.Optimizer) -> jax.Array:
        value, gradients = nnx.value_and_grad(loss)(model)
        optimizer.update(model, gradients)
        return value

    return lambda: (update(model, optimizer), jax.block_until_ready(nnx.state(model)))


def compilation(workload: Workload) -> Step:
    """Tracing and compiling, and one run, each time anew."""
    model, given = ours(workload), images(workload)

    def step() -> object:
        jax.clear_caches()
        return nnx.jit(lambda model, x: model(x))(model, given).block_until_ready()

    return step


SUBJECTS: dict[str, Callable[[Workload], Step]] = {
    "Flax jit": lambda w: forward(ours(w), w),
    "Flax jit without SE": lambda w: forward(without_se(w), w),
    "Flax folded jit": lambda w: forward(fold_batchnorm(ours(w)), w),
    "Flax deployed": deployed,
    "Flax deployed in bfloat16": lambda w: deployed(w, "bfloat16"),
    "Flax training": lambda w: training(ours(w), w),
    "Flax compiling": compilation,
}
