"""safetensors in several files as torch's DCP saves them, each rank's part of a tensor in that rank's own file.

`torch.distributed.checkpoint.HuggingFaceStorageWriter` leaves the place of each part in the file's metadata (torch
2.13, _hf_utils.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from se_weights.files.folders import expect_inside
from se_weights.files.json_document import DuplicateKey, parse_object
from se_weights.files.safetensors import single_file as safetensors
from se_weights.files.stored import FileContents, Tensor
from se_weights.refusals import refuse

PLACES = "DCP_SHARDING_INFO"
SHARD = ".safetensors"

Piece = tuple[tuple[int, ...], Tensor]
"""Where a part of a tensor begins, and the part."""


@contextmanager
def open_contents(folder: Path) -> Iterator[FileContents]:
    """The tensors whose parts lie in the files of a folder, each rank's in its own; joined when they are loaded."""
    paths = sorted(folder.glob(f"*{SHARD}"))
    for path in paths:
        expect_inside(folder, path)
    with ExitStack() as stack:
        pieces: dict[str, list[Piece]] = {}
        for path in paths:
            stored = stack.enter_context(safetensors.open_contents(path))
            for name, offset in _offsets(path, stored).items():
                pieces.setdefault(name, []).append((offset, stored.tensors[name]))
        yield FileContents({name: _whole(name, parts) for name, parts in pieces.items()})


def _offsets(path: Path, stored: FileContents) -> Mapping[str, tuple[int, ...]]:
    try:
        places = parse_object(stored.metadata.get(PLACES, "{}"), "shards.pieces")
    except DuplicateKey as error:
        raise refuse("shards.pieces", str(error)) from error
    found = {}
    for name, tensor in stored.tensors.items():
        match places.get(name):
            case {"saved_offsets": [*offset]} if len(offset) == len(tensor.shape) and all(map(_is_offset, offset)):
                found[name] = tuple(offset)
            case None if not places:
                found[name] = (0,) * len(tensor.shape)
            case place:
                raise refuse("shards.pieces", f"{path.name} places {name} at {place}")
    return found


def _is_offset(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _whole(name: str, parts: Sequence[Piece]) -> Tensor:
    if len({(tensor.dtype, len(tensor.shape)) for _, tensor in parts}) > 1:
        raise refuse("shards.pieces", f"those of {name} differ in type or rank")
    ends = ([begin + side for begin, side in zip(offset, tensor.shape, strict=True)] for offset, tensor in parts)
    shape = tuple(map(max, *ends)) if len(parts) > 1 else tuple(next(ends))
    if sum(prod(tensor.shape) for _, tensor in parts) != prod(shape):
        raise refuse("shards.pieces", f"those of {name} leave holes in {shape}, or overlap")
    dtype = parts[0][1].dtype
    return Tensor(dtype, shape, lambda: _joined(name, parts, shape, dtype))


def _joined(name: str, parts: Sequence[Piece], shape: tuple[int, ...], dtype: np.dtype) -> NDArray:
    whole, filled = np.empty(shape, dtype), np.zeros(shape, bool)
    for offset, tensor in parts:
        place = tuple(slice(begin, begin + side) for begin, side in zip(offset, tensor.shape, strict=True))
        if filled[place].any():
            raise refuse("shards.pieces", f"those of {name} overlap at {offset}")
        whole[place], filled[place] = tensor.load(), True
    return whole
