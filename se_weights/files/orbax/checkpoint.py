"""Orbax folders, `.orbax`, as Flax users save them.

Every array is a zarr array, in a folder of its own or in an OCDBT database. Its type and shape are declared in JSON,
which is read here; only from a database, which is binary, TensorStore reads it (reading_program.py). TensorStore also
reads the values, all of them at the first load. Orbax itself writes folders (se_flax/orbax.py).
"""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from se_weights.errors import MissingExtra
from se_weights.files.contents import FileContents, Tensor
from se_weights.files.orbax import zarr
from se_weights.files.orbax.folder import check_entries, find_checkpoint, read_own_metadata, read_text
from se_weights.files.orbax.tree import VALUE_LEVEL, Tree, read_tree
from se_weights.files.processes.framework_process import run_writer
from se_weights.files.processes.sandbox import Limits, run_sandboxed
from se_weights.files.safetensors import single_file as safetensors
from se_weights.refusals import refuse

READER = Path(__file__).with_name("reading_program.py")
WRITER = Path(__file__).parents[3] / "se_flax" / "orbax.py"

READ_SECONDS = {"documents": 9, "arrays": 60}
WRITE_SECONDS = 600

CPU_SECONDS, MEMORY = 30, 400 * 2**20
"""The limits of reading, to which four times the bytes of the arrays are added where they are read."""

COLLECTIONS = {"params", "batch_stats"}
"""The first levels of Linen's trees; those of NNX have a last level `value`."""

RANDOM = np.dtype(np.uint32)
"""The type of the keys and counts of random numbers, and of nothing else in a checkpoint."""


@contextmanager
def open_contents(path: Path) -> Iterator[FileContents]:
    """Opens a folder. The metadata name the branches that are left out because they are no part of a network.

    Raises:
        WeightsError: The folder is refused.
        MissingExtra: TensorStore is needed and not installed; this can also be raised when a tensor is loaded.
    """
    check_entries(path)
    found = find_checkpoint(path)
    with ExitStack() as stack:
        tensors: dict[str, Tensor] = {}
        left = {*found.left}
        for folder in found.trees:
            tree = read_tree(folder)
            inner = stack.enter_context(_open_tree(tree))
            left |= tree.left | (tree.entries.keys() - inner.keys())
            level = f"{folder.name}/" if len(found.trees) > 1 and not tree.is_nnx else ""
            tensors |= {f"{level}{name}": tensor for name, tensor in inner.items()}
        metadata = {"opened": "/".join(folder.name for folder in found.outer[1:]), "left": " ".join(sorted(left))}
        own = read_own_metadata(found.outer)
        yield FileContents(tensors, own | {key: text for key, text in metadata.items() if text})


@contextmanager
def _open_tree(tree: Tree) -> Iterator[Mapping[str, Tensor]]:
    """The arrays of a tree, apart from the keys and counts of random numbers."""
    declared = _declared(tree)
    lock = Lock()
    with ExitStack() as stack:

        @cache
        def read_all() -> Mapping[str, Tensor]:
            target = Path(stack.enter_context(tempfile.TemporaryDirectory()), "values.safetensors")
            _read(tree, tensors, target, 4 * sum(tensor.nbytes for tensor in tensors.values()))
            return stack.enter_context(safetensors.open_contents(target)).tensors

        def load(name: str) -> NDArray:
            with lock:  # the first of several threads reads for all
                actual, expected = read_all()[name], tensors[name]
            if (actual.dtype, actual.shape) != (expected.dtype, expected.shape):
                raise refuse(
                    "orbax.metadata", f"{name} has {actual.dtype}{actual.shape}, which is not what is declared"
                )
            return actual.load()

        tensors = {
            name: Tensor(dtype, shape, partial(load, name))
            for name, (dtype, shape) in declared.items()
            if dtype != RANDOM
        }
        yield tensors


def write(path: Path, contents: FileContents) -> None:
    """Writes a folder that `ocp.StandardCheckpointer().restore(path)` reads as an NNX state, or as Linen's variables.

    Raises:
        MissingExtra: Orbax is not installed.
        WriteFailed: Orbax failed.
    """
    _check_installed("orbax", "jax")
    linen = {name.partition("/")[0] for name in contents.tensors} <= COLLECTIONS
    tensors = {name if linen else f"{name}/{VALUE_LEVEL}": tensor for name, tensor in contents.tensors.items()}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "weights.safetensors")
        safetensors.write(source, FileContents(tensors))
        run_writer(
            "Orbax",
            *("-P", str(WRITER), str(source), str(path.absolute())),
            text=json.dumps(dict(contents.metadata)),
            environment={**os.environ, "JAX_PLATFORMS": "cpu"},
            seconds=WRITE_SECONDS,
        )


def _declared(tree: Tree) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """The type and shape of each array of the tree."""
    if tree.in_database:
        documents = _read(tree, tree.entries)["documents"]
    else:
        documents = {name: _document(tree, entry.key) for name, entry in tree.entries.items()}
    return {
        name: zarr.parse_document(name, documents[name], tree.layout, entry.write_shape)
        for name, entry in tree.entries.items()
    }


def _document(tree: Tree, key: str) -> str:
    path = tree.folder / key / tree.layout.document
    if not path.is_file():
        raise refuse("orbax.missing", f"{key}/{tree.layout.document}")
    return read_text(path)


def _read(tree: Tree, names: Mapping[str, Any], target: Path | None = None, memory: int = 0) -> dict[str, Any]:
    """Reads the arrays of these names into the target, or their documents; with so many bytes more than MEMORY."""
    _check_installed("tensorstore")
    folder = {"driver": "file", "path": f"{tree.folder.absolute()}/"}
    request = {
        "kvstore": {"driver": "ocdbt", "base": folder} if tree.in_database else folder,
        "driver": tree.layout.driver,
        "document": tree.layout.document,
        "arrays": {name: tree.entries[name].key for name in names},
        "target": str(target) if target else None,
    }
    seconds = READ_SECONDS["arrays" if target else "documents"]
    return run_sandboxed(READER, request, Limits(seconds, CPU_SECONDS, MEMORY + memory), "orbax.metadata")


def _check_installed(*packages: str) -> None:
    if not all(map(find_spec, packages)):
        raise MissingExtra("Orbax folders need Orbax", "flax")
