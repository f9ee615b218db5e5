"""Folders of torch's DCP in safetensors: each rank's shard of a tensor is in that rank's own file.

`torch.distributed.checkpoint.HuggingFaceStorageWriter` writes the offsets of the shards into the metadata of the files
(torch 2.13, _hf_utils.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from se_weights.files.contents import FileContents, Tensor
from se_weights.files.folders import check_inside
from se_weights.files.json_document import DuplicateKey, parse_object
from se_weights.files.safetensors import single_file as safetensors
from se_weights.refusals import refuse

SHARDING_INFO = "DCP_SHARDING_INFO"
"""The metadata key of the offsets."""

SUFFIX = ".safetensors"

Shard = tuple[tuple[int, ...], Tensor]
"""Where a shard begins in its tensor, along each axis; and the shard."""


@contextmanager
def open_contents(folder: Path) -> Iterator[FileContents]:
    """Opens a folder: the tensors whose shards are in its files, joined when they are loaded. Raises WeightsError."""
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    for path in paths:
        check_inside(folder, path)
    with ExitStack() as stack:
        shards: dict[str, list[Shard]] = {}
        for path in paths:
            contents = stack.enter_context(safetensors.open_contents(path))
            for name, offset in _read_offsets(path, contents).items():
                shards.setdefault(name, []).append((offset, contents.tensors[name]))
        yield FileContents({name: _joined_tensor(name, parts) for name, parts in shards.items()})


def _read_offsets(path: Path, contents: FileContents) -> Mapping[str, tuple[int, ...]]:
    try:
        info = parse_object(contents.metadata.get(SHARDING_INFO, "{}"), "shards.pieces")
    except DuplicateKey as error:
        raise refuse("shards.pieces", str(error)) from error
    offsets = {}
    for name, tensor in contents.tensors.items():
        match info.get(name):
            case {"saved_offsets": [*offset]} if len(offset) == len(tensor.shape) and all(map(_is_offset, offset)):
                offsets[name] = tuple(offset)
            case None if not info:
                offsets[name] = (0,) * len(tensor.shape)
            case entry:
                raise refuse("shards.pieces", f"{path.name} places {name} at {entry}")
    return offsets


def _is_offset(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _joined_tensor(name: str, shards: Sequence[Shard]) -> Tensor:
    if len({(tensor.dtype, len(tensor.shape)) for _, tensor in shards}) > 1:
        raise refuse("shards.pieces", f"those of {name} differ in type or rank")
    ends = ([begin + size for begin, size in zip(offset, tensor.shape, strict=True)] for offset, tensor in shards)
    shape = tuple(map(max, *ends)) if len(shards) > 1 else tuple(next(ends))
    if sum(prod(tensor.shape) for _, tensor in shards) != prod(shape):
        raise refuse("shards.pieces", f"those of {name} overlap, or do not fill the shape {shape}")
    dtype = shards[0][1].dtype
    return Tensor(dtype, shape, lambda: _join(name, shards, shape, dtype))


def _join(name: str, shards: Sequence[Shard], shape: tuple[int, ...], dtype: np.dtype) -> NDArray:
    array, filled = np.empty(shape, dtype), np.zeros(shape, bool)
    for offset, tensor in shards:
        region = tuple(slice(begin, begin + size) for begin, size in zip(offset, tensor.shape, strict=True))
        if filled[region].any():
            raise refuse("shards.pieces", f"those of {name} overlap at {offset}")
        array[region], filled[region] = tensor.load(), True
    return array
