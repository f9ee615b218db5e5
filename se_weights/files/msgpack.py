"""`.msgpack`, the tree of arrays that `flax.serialization` writes, without Flax.

An array is the msgpack extension 1 around its shape, dtype name and bytes; one above 2**30 bytes is a map of flat
chunks (flax 0.12, serialization.py). The format has no room for metadata: where an architecture needs some, it is one
text more at the root of the tree, which `flax.serialization.from_bytes` does not look at.
"""

import json
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import ml_dtypes
import msgpack
import numpy as np
from numpy.typing import NDArray

from se_weights.errors import MalformedFile
from se_weights.files.stored import ALL_FLOATS, Format, Stored

ARRAY = 1
SCALAR = 3
CHUNKS = "__msgpack_chunked_array__"
CHUNK_BYTES = 2**30
METADATA = "se_resnet.json"


def read(path: Path) -> Stored:
    try:
        tree = msgpack.unpackb(path.read_bytes(), ext_hook=_unpack_array, strict_map_key=False)
        metadata = json.loads(tree.pop(METADATA, "{}")) if isinstance(tree, dict) else {}
        return Stored(dict(_leaves(tree, "")), metadata)
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise MalformedFile(f"{path} is not a readable flax msgpack file: {error}") from error


def _unpack_array(code: int, data: bytes) -> NDArray:
    if code not in (ARRAY, SCALAR):
        raise ValueError(f"the msgpack extension {code} is not an array")
    shape, name, buffer = msgpack.unpackb(data)
    dtype = np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
    if dtype.hasobject or any(size < 0 for size in shape) or prod(shape) * dtype.itemsize != len(buffer):
        raise ValueError(f"{len(buffer)} bytes are not an array of {name} with the shape {tuple(shape)}")
    return np.frombuffer(buffer, dtype).reshape(shape)


def _leaves(tree: Any, path: str) -> Iterator[tuple[str, NDArray]]:
    if isinstance(tree, np.ndarray):
        yield path, tree
    elif isinstance(tree, dict) and CHUNKS in tree:
        yield path, _join_chunks(tree)
    elif isinstance(tree, dict):
        for key, branch in tree.items():
            yield from _leaves(branch, f"{path}/{key}" if path else str(key))
    else:
        raise ValueError(f"{path or 'the file'} holds a {type(tree).__name__} where an array belongs")


def _join_chunks(tree: dict[str, Any]) -> NDArray:
    shape = [tree["shape"][str(axis)] for axis in range(len(tree["shape"]))]
    chunks = [tree["chunks"][str(index)] for index in range(len(tree["chunks"]))]
    flat = np.concatenate(chunks)
    if any(size < 0 for size in shape):
        raise ValueError(f"an array cannot have the shape {tuple(shape)}")
    return flat.reshape(shape)


def write(path: Path, stored: Stored) -> None:
    tree: dict[str, Any] = {METADATA: json.dumps(dict(stored.metadata))} if stored.metadata else {}
    for name, tensor in stored.tensors.items():
        *branches, leaf = name.split("/")
        branch = tree
        for key in branches:
            branch = branch.setdefault(key, {})
        branch[leaf] = tensor
    with path.open("wb") as file:
        msgpack.pack(tree, file, default=_pack_array, strict_types=True)


def _pack_array(array: NDArray) -> msgpack.ExtType | Mapping[str, Any]:
    if array.nbytes > CHUNK_BYTES:
        length = CHUNK_BYTES // array.itemsize
        flat = array.reshape(-1)
        pieces = [flat[start : start + length] for start in range(0, flat.size, length)]
        return {
            CHUNKS: True,
            "shape": {str(axis): size for axis, size in enumerate(array.shape)},
            "chunks": {str(index): piece for index, piece in enumerate(pieces)},
        }
    return msgpack.ExtType(ARRAY, msgpack.packb((array.shape, array.dtype.name, array.tobytes())))


MSGPACK = Format("flax msgpack", (".msgpack",), ("flax",), ALL_FLOATS, read, write, "when needed")
