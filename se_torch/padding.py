"""Max-pooling whose margins depend on the size of the map; torch's own are the same on both sides."""

import torch.nn.functional as functional
from torch import Tensor, nn

import se_spec


class MaxPool(nn.Module):
    """A max-pool of (N, C, H, W) that begins and ends where its specification says, in margins of minus infinity."""

    def __init__(self, pool: se_spec.MaxPool) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        (top, bottom), (left, right) = (self.pool.margins(side) for side in x.shape[2:])
        if top == bottom == left == right:  # torch's own margins need no copy
            return functional.max_pool2d(x, self.pool.kernel, self.pool.stride, padding=top)
        padded = functional.pad(x, (left, right, top, bottom), value=float("-inf"))
        return functional.max_pool2d(padded, self.pool.kernel, self.pool.stride)
