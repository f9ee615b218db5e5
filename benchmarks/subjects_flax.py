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


def configure() -> dict[str, str]:
    """The versions of the libraries; the worker has limited the threads."""
    return {"jax": jax.__version__, "flax": flax.__version__}


def our_model(workload: Workload) -> nnx.Module:
    model = se_flax.create_model(workload.network)
    model.eval()
    return model


def model_without_se(workload: Workload) -> nnx.Module:
    model = se_flax.create_model(workload.network.removeprefix("se_"))
    model.eval()
    return model


def images(workload: Workload) -> jax.Array:
    shape = workload.batch, workload.side, workload.side, 3
    return jax.numpy.asarray(np.random.default_rng(0).normal(size=shape).astype("float32"))


def forward(model: nnx.Module, workload: Workload) -> Step:
    inputs = images(workload)
    function = nnx.cached_partial(nnx.jit(lambda model, x: model(x)), model)
    return lambda: function(inputs).block_until_ready()


def deployed(workload: Workload, dtype: str | None = None) -> Step:
    function, inputs = optimize_for_inference(our_model(workload), dtype=dtype), images(workload)
    return lambda: function(inputs).block_until_ready()


def training(model: nnx.Module, workload: Workload) -> Step:
    """One compiled training step of SGD with momentum."""
    model.train()
    inputs, labels = images(workload), jax.numpy.arange(workload.batch)
    optimizer = nnx.Optimizer(model, optax.sgd(0.01, 0.9), wrt=nnx.Param)

    def loss(model: nnx.Module) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(model(inputs), labels).mean()

    @nnx.jit
    def update(model: nnx.Module, optimizer: nnx.Optimizer) -> jax.Array:
        value, gradients = nnx.value_and_grad(loss)(model)
        optimizer.update(model, gradients)
        return value

    return lambda: (update(model, optimizer), jax.block_until_ready(nnx.state(model)))


def compilation(workload: Workload) -> Step:
    """Trace, compile and run the model once, from scratch at every step."""
    model, inputs = our_model(workload), images(workload)

    def step() -> object:
        jax.clear_caches()
        return nnx.jit(lambda model, x: model(x))(model, inputs).block_until_ready()

    return step


SUBJECTS: dict[str, Callable[[Workload], Step]] = {
    "Flax jit": lambda w: forward(our_model(w), w),
    "Flax jit without SE": lambda w: forward(model_without_se(w), w),
    "Flax folded jit": lambda w: forward(fold_batchnorm(our_model(w)), w),
    "Flax deployed": deployed,
    "Flax deployed in bfloat16": lambda w: deployed(w, "bfloat16"),
    "Flax training": lambda w: training(our_model(w), w),
    "Flax compiling": compilation,
}
