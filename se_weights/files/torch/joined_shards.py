"""Joins the shards of a tensor, which the ranks of a distributed training run saved one by one."""

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from se_weights.files.contents import Tensor
from se_weights.refusals import refuse

Shard = tuple[tuple[int, ...], Tensor]
"""Where a shard begins in its tensor, along each axis; and the shard."""


def joined_tensor(name: str, shards: Sequence[Shard]) -> Tensor:
    """The tensor whose shards these are; they are joined when it is loaded.

    Args:
        name: The name of the tensor.
        shards: At least one shard.

    Raises:
        WeightsError: The shards differ in type or rank, overlap, or leave gaps; some overlaps are found only when the
            tensor is loaded.
    """
    if len({(tensor.dtype, len(tensor.shape)) for _, tensor in shards}) > 1:
        raise refuse("shards.pieces", f"those of {name} differ in type or rank")
    ends = ([begin + size for begin, size in zip(offset, tensor.shape, strict=True)] for offset, tensor in shards)
    shape = tuple(map(max, *ends)) if len(shards) > 1 else tuple(next(ends))
    if sum(prod(tensor.shape) for _, tensor in shards) != prod(shape):
        raise refuse("shards.pieces", f"those of {name} overlap, or do not fill the shape {shape}")
    dtype = shards[0][1].dtype
    return Tensor(dtype, shape, lambda: _join(name, shards, shape, dtype))


def _join(name: str, shards: Sequence[Shard], shape: tuple[int, ...], dtype: np.dtype) -> NDArray:
    if shards[0][1].shape == shape:
        return shards[0][1].load()
    array, filled = np.empty(shape, dtype), np.zeros(shape, bool)
    for offset, tensor in shards:
        region = tuple(slice(begin, begin + size) for begin, size in zip(offset, tensor.shape, strict=True))
        if filled[region].any():
            raise refuse("shards.pieces", f"those of {name} overlap at {offset}")
        array[region], filled[region] = tensor.load(), True
    return array
