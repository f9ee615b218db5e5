"""safetensors in several files: by the index that Hugging Face puts beside them, and as torch's DCP saves them.

`torch.distributed.checkpoint.HuggingFaceStorageWriter` may leave each rank's part of a tensor in that rank's own file,
with the place of the part in the file's metadata (torch 2.13, _hf_utils.py).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from se_weights.files.documents import NameTwice, parse_object
from se_weights.files.folders import expect_inside, is_file_name
from se_weights.files.limits import HEADER
from se_weights.files.safetensors import open_safetensors
from se_weights.files.stored import ALL_FLOATS, Format, Stored, Tensor
from se_weights.refusals import refuse

INDEX = ".safetensors.index.json"
PLACES = "DCP_SHARDING_INFO"
SHARD = ".safetensors"

Piece = tuple[tuple[int, ...], Tensor]
"""Where a part of a tensor begins, and the part."""


@contextmanager
def open_index(path: Path) -> Iterator[Stored]:
    """The tensors that the index names, each in the shard that it names, and no others."""
    shards = _shards(path)
    with ExitStack() as stack:
        opened = {
            name: stack.enter_context(open_safetensors(path.parent / name)) for name in sorted(set(shards.values()))
        }
        held: dict[str, str] = {}
        for shard, stored in opened.items():
            for name in stored.tensors:
                if name in held:
                    raise refuse("shards.index", f"{name} lies in {held[name]} and in {shard}")
                if name not in shards:
                    raise refuse("shards.index", f"{shard} holds {name}, of which the index says nothing")
                held[name] = shard
        for name, shard in shards.items():
            if held.get(name) != shard:
                raise refuse("shards.missing", f"{name}, which the index places in {shard}")
        tensors = {name: opened[shard].tensors[name] for name, shard in shards.items()}
        metadata = {key: text for stored in opened.values() for key, text in stored.metadata.items()}
        yield Stored(tensors, metadata)


def _shards(path: Path) -> dict[str, str]:
    """The shard of each tensor."""
    if path.stat().st_size > HEADER:
        raise refuse("shards.index", f"{path.stat().st_size:,} bytes are more than the {HEADER:,} that it may have")
    try:
        index = parse_object(path.read_bytes(), "shards.index")
    except NameTwice as error:
        raise refuse("shards.index", str(error)) from error
    shards = index.get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()) or not shards:
        raise refuse("shards.index", "its weight_map is not an object of file names")
    for shard in sorted(set(shards.values())):
        if any(sign in shard for sign in "/\\:\0") or shard in ("", ".", ".."):
            raise refuse("shards.path", f"it names {shard!r}, and shards lie beside the index")
        if not shard.endswith(SHARD) or not is_file_name(shard):
            raise refuse("shards.index", f"it names {shard!r}, and only a file .safetensors can be a shard")
        expect_inside(path.parent, path.parent / shard)
        if not (path.parent / shard).is_file():
            raise refuse("shards.missing", shard)
    return shards


@contextmanager
def open_pieces(paths: Sequence[Path]) -> Iterator[Stored]:
    """The tensors whose parts lie in these files, put together when they are loaded."""
    with ExitStack() as stack:
        pieces: dict[str, list[Piece]] = {}
        for path in paths:
            stored = stack.enter_context(open_safetensors(path))
            for name, offset in _offsets(path, stored).items():
                pieces.setdefault(name, []).append((offset, stored.tensors[name]))
        yield Stored({name: _whole(name, parts) for name, parts in pieces.items()})


def _offsets(path: Path, stored: Stored) -> Mapping[str, tuple[int, ...]]:
    try:
        places = parse_object(stored.metadata.get(PLACES, "{}"), "shards.pieces")
    except NameTwice as error:
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


@contextmanager
def open_pieces_in(folder: Path) -> Iterator[Stored]:
    """The tensors whose parts lie in the files of a folder, each rank's in its own."""
    paths = sorted(folder.glob(f"*{SHARD}"))
    for path in paths:
        expect_inside(folder, path)
    with open_pieces(paths) as stored:
        yield stored


SHARDS = Format("sharded safetensors", (INDEX,), ("torch", "keras", "keras2", "flax"), ALL_FLOATS, open_index, None)
PIECES = Format("torch DCP", (), ("torch",), ALL_FLOATS, open_pieces_in, None, folder=True)


def index_document(shards: Mapping[str, str], total: int) -> bytes:
    """An index: the shard of each tensor, and the bytes of all."""
    document = {"metadata": {"total_size": total}, "weight_map": dict(sorted(shards.items()))}
    return (json.dumps(document, indent=2) + "\n").encode()
