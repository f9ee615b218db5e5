"""Max-pooling whose margins are written out; JAX's "same" ones depend on the stride."""

from flax import nnx
from jax import Array

import se_spec


class MaxPool(nnx.Module):
    """A max-pool of (N, H, W, C) that begins and ends where its specification says, in margins of minus infinity."""

    def __init__(self, pool: se_spec.MaxPool) -> None:
        self.pool = pool

    def __call__(self, x: Array) -> Array:
        sides = (self.pool.kernel,) * 2, (self.pool.stride,) * 2
        return nnx.max_pool(x, *sides, padding=[self.pool.margins(side) for side in x.shape[1:3]])
