"""Reads the arrays of an Orbax folder with TensorStore.

A program of se_weights/files/processes/sandbox.py. Orbax itself is not used: it would look for the devices over which
the arrays were sharded, return zeros for missing parts where the folder allows that, and import JAX.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorstore
from safetensors.numpy import save_file

Refuse = Callable[[str, str], Exception]


def run(request: Mapping[str, Any], refuse: Refuse) -> dict[str, Any]:
    """Reads the arrays, or only the documents that declare their types and shapes.

    Args:
        request: `kvstore`, TensorStore's specification of the folder or of the database in it; `arrays`, their keys in
            it by name; `driver` and `document`, the zarr driver and the name of an array's document; `target`, the
            safetensors file to write the arrays to, or None for the documents alone.
        refuse: Makes the exception to raise from the id of a refusal and its detail.

    Returns:
        The `documents` by name, if there is no `target`.
    """
    if request["target"] is None:
        return {"documents": _read_documents(request, refuse)}
    save_file(_read_arrays(request, refuse), request["target"])
    return {}


def _read_documents(request: Mapping[str, Any], refuse: Refuse) -> dict[str, str]:
    store = _result("the database", tensorstore.KvStore.open(request["kvstore"]), "orbax.metadata", refuse)
    documents = {}
    for name, array in request["arrays"].items():
        key = f"{array}/{request['document']}"
        entry = _result(key, store.read(key), "orbax.metadata", refuse)
        if entry.state != "value":
            raise refuse("orbax.missing", key)
        documents[name] = entry.value.decode(errors="replace")
    return documents


def _read_arrays(request: Mapping[str, Any], refuse: Refuse) -> dict[str, np.ndarray]:
    arrays = {}
    for name, array in request["arrays"].items():
        place = {**request["kvstore"], "path": f"{request['kvstore'].get('path', '')}{array}/"}
        spec = {"driver": request["driver"], "kvstore": place, "fill_missing_data_reads": False}
        store = _result(array, tensorstore.open(spec, open=True, read=True), "orbax.metadata", refuse)
        arrays[name] = np.asarray(_result(array, store.read(), "orbax.missing", refuse), order="C")
    return arrays


def _result(what: str, future: Any, damaged: str, refuse: Refuse) -> Any:
    """Waits for TensorStore. Its errors are of many classes; the beginnings of their texts tell what is wrong."""
    try:
        return future.result()
    except Exception as error:
        text = str(error).partition(" [")[0]
        reason = "orbax.missing" if text.startswith("NOT_FOUND") else damaged
        raise refuse(reason, f"{what}: {text or type(error).__name__}") from error
