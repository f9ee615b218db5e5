"""`.msgpack` files: the tree of arrays that `flax.serialization` writes, read and written without Flax.

An array is the msgpack extension 1 around its shape, dtype name and bytes; one above 2**30 bytes is a map of flat
chunks (flax 0.12, serialization.py). The format has no place for metadata: if an architecture needs them, they are a
string at the root of the tree, which `flax.serialization.from_bytes` ignores.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgpack
from numpy.typing import NDArray

from se_weights.files.contents import FileContents, Tensor, array_bytes
from se_weights.files.msgpack.headers import ARRAY, BYTES, EXTENSION, MAP, encode_header
from se_weights.files.msgpack.tree import CHUNKS, METADATA, NDARRAY, TreeReader

CHUNK_BYTES = 2**30
"""Bytes of the largest array that is not split into chunks."""


@contextmanager
def open_contents(path: Path) -> Iterator[FileContents]:
    """Opens a file, whose tensors can be loaded until it is closed. Raises WeightsError."""
    with path.open("rb") as file:
        yield TreeReader(file).read()


def write(path: Path, contents: FileContents) -> None:
    """Writes a file that `flax.serialization.msgpack_restore` reads."""
    tree: dict[str, Any] = {METADATA: json.dumps(dict(contents.metadata))} if contents.metadata else {}
    for name, tensor in contents.tensors.items():
        *branches, leaf = name.split("/")
        branch = tree
        for key in branches:
            branch = branch.setdefault(key, {})
        branch[leaf] = tensor
    with path.open("wb") as file:
        _write_tree(file, tree)


def _write_tree(file: BinaryIO, tree: dict[str, Any]) -> None:
    file.write(encode_header(MAP, len(tree)))
    for key, branch in tree.items():
        file.write(msgpack.packb(key))
        if isinstance(branch, dict):
            _write_tree(file, branch)
        elif isinstance(branch, Tensor):
            _write_array(file, branch.load())
        else:
            file.write(msgpack.packb(branch))


def _write_array(file: BinaryIO, array: NDArray) -> None:
    """Writes what `msgpack.packb` would return, without its copy of the values."""
    if array.nbytes <= CHUNK_BYTES:
        content = array_bytes(array)
        fields = encode_header(ARRAY, 3) + msgpack.packb(array.shape) + msgpack.packb(array.dtype.name)
        fields += encode_header(BYTES, len(content))
        file.write(encode_header(EXTENSION, len(fields) + len(content)) + bytes([NDARRAY]) + fields)
        file.write(content)
        return
    length = CHUNK_BYTES // array.itemsize
    flat = array.reshape(-1)
    chunks = [Tensor.of(flat[start : start + length]) for start in range(0, flat.size, length)]
    shape = {str(axis): size for axis, size in enumerate(array.shape)}
    _write_tree(file, {CHUNKS: True, "shape": shape, "chunks": {str(n): chunk for n, chunk in enumerate(chunks)}})
