"""Reads and writes the arrays of Orbax folders for se_weights, as a program:

    python -P orbax.py describe                        < request     their zarr documents
    python -P orbax.py read values.safetensors         < request     their values, into the file
    python -P orbax.py write weights.safetensors PATH  < metadata    a folder, of the file's arrays

A request is a JSON object, made by se_weights/files/orbax/checkpoint.py; the answer, on standard output, is one too:
what was asked for, or the `reason` (se_weights/refusals.py) for which the folder is refused.

Reading goes to the arrays themselves, through TensorStore. Orbax would look for the devices over which the arrays were
sharded, give zeros for missing parts where the folder says that it may, and import JAX. The program may take little
time and memory for it, since it opens strangers' files. It is run as a file: as a module, the package, and with it all
of Flax, would be imported first.
"""

import json
import resource
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

SECONDS, BYTES = 30, 400 * 2**20
"""What reading may take of a processor, and of memory beside the arrays."""


class Refused(Exception):
    """The folder is refused, for a reason of se_weights/refusals.py."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def describe(request: Mapping[str, Any]) -> dict[str, Any]:
    """The zarr document of each array, by the name that it is to have. Raises Refused."""
    import tensorstore

    _limit(BYTES)
    store = _waited("the database", tensorstore.KvStore.open(request["kvstore"]))
    documents = {}
    for name, array in request["arrays"].items():
        key = f"{array}/{request['document']}"
        found = _waited(key, store.read(key))
        if found.state != "value":
            raise Refused("orbax.missing", key)
        documents[name] = found.value.decode(errors="replace")
    return {"documents": documents}


def read(request: Mapping[str, Any], target: str) -> dict[str, Any]:
    """Writes the values of each array, under its name. Raises Refused."""
    import tensorstore

    _limit(BYTES + 4 * request["bytes"])
    values = {}
    for name, array in request["arrays"].items():
        place = {**request["kvstore"], "path": f"{request['kvstore'].get('path', '')}{array}/"}
        spec = {"driver": request["driver"], "kvstore": place, "fill_missing_data_reads": False}
        store = _waited(array, tensorstore.open(spec, open=True, read=True))
        values[name] = np.asarray(_waited(array, store.read(), "orbax.missing"), order="C")
    save_file(values, target)
    return {}


def write(metadata: Mapping[str, str], source: str, target: str) -> dict[str, Any]:
    """Saves the arrays as a tree. Plainly, without OCDBT: what the folder declares can then be read without Orbax."""
    import orbax.checkpoint as ocp

    tree: dict[str, Any] = {}
    for name, array in load_file(source).items():
        *branches, leaf = name.split("/")
        branch = tree
        for key in branches:
            branch = branch.setdefault(key, {})
        branch[leaf] = array
    in_place = ocp.options.AtomicityOptions(ocp.options.AtomicityMode.COMMIT_FILE)  # nothing is left beside the target
    with ocp.StandardCheckpointer(use_ocdbt=False, atomicity_options=in_place) as checkpointer:
        checkpointer.save(target, tree, custom_metadata={"se_resnet": dict(metadata)})
    return {}


def _waited(what: str, future: Any, damaged: str = "orbax.metadata") -> Any:
    """What TensorStore was asked for. Its errors are of many classes; what is wrong begins their texts."""
    try:
        return future.result()
    except Exception as error:
        text = str(error).partition(" [")[0]
        reason = "orbax.missing" if text.startswith("NOT_FOUND") else damaged
        raise Refused(reason, f"{what}: {text or type(error).__name__}") from error


def _limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(task: str, *paths: str) -> None:
    tasks: dict[str, Callable[..., dict[str, Any]]] = {"describe": describe, "read": read, "write": write}
    try:
        answer = tasks[task](json.load(sys.stdin), *paths)
    except Refused as error:
        answer = {"reason": error.reason, "detail": str(error)}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
