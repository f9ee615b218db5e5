"""Batch normalisation that keeps the running variance as torch keeps it."""

from math import prod
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.lax import stop_gradient


class BatchNorm(nnx.BatchNorm):
    """Flax's BatchNorm over the last axis, with the unbiased variance in its running statistics.

    Flax averages the biased variance of a batch. torch normalises with that too, but averages N / (N - 1) times it,
    where N counts the values of a channel. What Flax has just averaged in is scaled by that factor here.
    Flax also keeps the statistics in float32 whatever the parameters are; here they follow the parameters.
    """

    def __init__(self, num_features: int, *, param_dtype: Any = jnp.float32, **options: Any) -> None:
        super().__init__(num_features, param_dtype=param_dtype, **options)
        self.mean = nnx.BatchStat(jnp.zeros(num_features, param_dtype))
        self.var = nnx.BatchStat(jnp.ones(num_features, param_dtype))

    def __call__(self, x: Array, use_running_average: bool | None = None, *, mask: Array | None = None) -> Array:
        if self.use_running_average if use_running_average is None else use_running_average:
            return super().__call__(x, use_running_average=True, mask=mask)
        kept = self.var[...] * self.momentum
        outputs = super().__call__(x, use_running_average=False, mask=mask)
        averaged_in = self.var[...] - kept
        count = prod(x.shape[:-1])
        self.var[...] = stop_gradient(kept + averaged_in * (count / max(count - 1, 1)))
        return outputs
