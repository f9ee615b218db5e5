"""Orbax folders, `.orbax`, as Flax users save them.

Every array is a zarr array, in a folder of its own or in an OCDBT database. What it is declared to be stands in JSON,
and is read without JAX; only out of a database, which is binary, another process fetches the JSON. That process
(se_flax/orbax.py) also reads the values, all at once when the first are asked for, and writes folders.
"""

import json
import os
import subprocess
import sys
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

from se_weights.errors import MissingExtra, WriteFailed
from se_weights.files.orbax import zarr
from se_weights.files.orbax.folder import descend, expect_plain, own_metadata, text
from se_weights.files.orbax.tree import LEVEL, Tree, read_tree
from se_weights.files.safetensors import single_file as safetensors
from se_weights.files.stored import FileContents, Tensor
from se_weights.refusals import refuse

PROGRAM = Path(__file__).parents[3] / "se_flax" / "orbax.py"
NEEDS = {"describe": ("tensorstore",), "read": ("tensorstore",), "write": ("orbax", "jax")}
SECONDS = {"describe": 9, "read": 60, "write": 600}

COLLECTIONS = {"params", "batch_stats"}
"""The first levels of Linen's trees; those of NNX have a last level `value`."""

RANDOM = np.dtype(np.uint32)
"""The type of the keys and counts of random numbers, and of nothing else in a checkpoint."""


@contextmanager
def open_contents(path: Path) -> Iterator[FileContents]:
    """What is no part of a network is left, and named in the metadata."""
    expect_plain(path)
    folders = descend(path)
    tree = read_tree(folders[-1])
    declared = _declared(tree)
    left = sorted(tree.left | {name for name, (dtype, _) in declared.items() if dtype == RANDOM})
    first = Lock()
    with ExitStack() as stack:

        @cache
        def values() -> Mapping[str, Tensor]:
            target = Path(stack.enter_context(tempfile.TemporaryDirectory()), "values.safetensors")
            size = sum(tensor.nbytes for tensor in tensors.values())
            _ask("read", {**_request(tree, tensors), "bytes": size}, target)
            return stack.enter_context(safetensors.open_contents(target)).tensors

        def load(name: str) -> NDArray:
            with first:  # of several threads fetches them for all
                found, meant = values()[name], tensors[name]
            if (found.dtype, found.shape) != (meant.dtype, meant.shape):
                raise refuse("orbax.metadata", f"{name} is declared otherwise than it is: {found.dtype}{found.shape}")
            return found.load()

        tensors = {
            name: Tensor(dtype, shape, partial(load, name))
            for name, (dtype, shape) in declared.items()
            if dtype != RANDOM
        }
        yield FileContents(tensors, own_metadata(folders) | ({"left": " ".join(left)} if left else {}))


def write(path: Path, stored: FileContents) -> None:
    """So that `ocp.StandardCheckpointer().restore(path, abstract_state)` gives an NNX state, or Linen's variables.

    Raises MissingExtra and WriteFailed.
    """
    linen = {name.partition("/")[0] for name in stored.tensors} <= COLLECTIONS
    tensors = {name if linen else f"{name}/{LEVEL}": tensor for name, tensor in stored.tensors.items()}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "weights.safetensors")
        safetensors.write(source, FileContents(tensors))
        _ask("write", dict(stored.metadata), source, path.absolute())


def _declared(tree: Tree) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """The type and shape of each array of the tree."""
    if tree.in_database:
        documents = _ask("describe", _request(tree, tree.entries))["documents"]
    else:
        documents = {name: _document(tree, entry.key) for name, entry in tree.entries.items()}
    return {
        name: zarr.declared(name, documents[name], tree.layout, entry.piece) for name, entry in tree.entries.items()
    }


def _document(tree: Tree, key: str) -> str:
    path = tree.folder / key / tree.layout.document
    if not path.is_file():
        raise refuse("orbax.missing", f"{key}/{tree.layout.document}")
    return text(path)


def _request(tree: Tree, names: Mapping[str, Any]) -> dict[str, Any]:
    """What se_flax/orbax.py is told: where TensorStore finds the arrays of these names."""
    place = {"driver": "file", "path": f"{tree.folder.absolute()}/"}
    return {
        "kvstore": {"driver": "ocdbt", "base": place} if tree.in_database else place,
        "driver": tree.layout.driver,
        "document": tree.layout.document,
        "arrays": {name: tree.entries[name].key for name in names},
    }


def _ask(task: str, request: Mapping[str, Any], *paths: Path) -> dict[str, Any]:
    """The answer of se_flax/orbax.py. Raises what it refuses, MissingExtra, and WriteFailed."""
    if not all(find_spec(package) for package in NEEDS[task]):
        raise MissingExtra("Orbax folders need Orbax: pip install 'se-resnet[flax]'")
    command = [sys.executable, "-P", str(PROGRAM), task, *map(str, paths)]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(request).encode(),
            capture_output=True,
            check=False,
            timeout=SECONDS[task],
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
        failure = done.stderr.decode(errors="replace").strip().splitlines()[-1:] if done.returncode else None
    except subprocess.TimeoutExpired:
        failure = [f"it took more than {SECONDS[task]} s"]
    if failure is not None:
        told = "".join(failure) or f"status {done.returncode}"
        raise WriteFailed(f"Orbax failed: {told}") if task == "write" else refuse("orbax.metadata", told)
    answer = json.loads(done.stdout)
    if "reason" in answer:
        raise refuse(answer["reason"], answer["detail"])
    return answer
