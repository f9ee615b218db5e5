"""`.msgpack`, the tree of arrays that `flax.serialization` writes, without Flax.

An array is the msgpack extension 1 around its shape, dtype name and bytes; one above 2**30 bytes is a map of flat
chunks (flax 0.12, serialization.py). The format has no room for metadata: where an architecture needs some, it is one
text more at the root of the tree, which `flax.serialization.from_bytes` does not look at.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgpack
from numpy.typing import NDArray

from se_weights.files.msgpack.heads import ARRAY, BYTES, EXTENSION, MAP, head_of
from se_weights.files.msgpack.tree import CHUNKS, METADATA, NDARRAY, Walk
from se_weights.files.stored import FileContents, Tensor, bytes_of

CHUNK_BYTES = 2**30


@contextmanager
def open_contents(path: Path) -> Iterator[FileContents]:
    with path.open("rb") as file:
        yield Walk(file).stored()


def write(path: Path, stored: FileContents) -> None:
    tree: dict[str, Any] = {METADATA: json.dumps(dict(stored.metadata))} if stored.metadata else {}
    for name, tensor in stored.tensors.items():
        *branches, leaf = name.split("/")
        branch = tree
        for key in branches:
            branch = branch.setdefault(key, {})
        branch[leaf] = tensor
    with path.open("wb") as file:
        _write_tree(file, tree)


def _write_tree(file: BinaryIO, tree: dict[str, Any]) -> None:
    file.write(head_of(MAP, len(tree)))
    for key, branch in tree.items():
        file.write(msgpack.packb(key))
        if isinstance(branch, dict):
            _write_tree(file, branch)
        elif isinstance(branch, Tensor):
            _write_array(file, branch.load())
        else:
            file.write(msgpack.packb(branch))


def _write_array(file: BinaryIO, array: NDArray) -> None:
    """As `msgpack.packb` would write it from a copy of the values."""
    if array.nbytes <= CHUNK_BYTES:
        content = bytes_of(array)
        before = head_of(ARRAY, 3) + msgpack.packb(array.shape) + msgpack.packb(array.dtype.name)
        before += head_of(BYTES, len(content))
        file.write(head_of(EXTENSION, len(before) + len(content)) + bytes([NDARRAY]) + before)
        file.write(content)
        return
    length = CHUNK_BYTES // array.itemsize
    flat = array.reshape(-1)
    pieces = [Tensor.of(flat[start : start + length]) for start in range(0, flat.size, length)]
    shape = {str(axis): size for axis, size in enumerate(array.shape)}
    _write_tree(file, {CHUNKS: True, "shape": shape, "chunks": {str(n): piece for n, piece in enumerate(pieces)}})
