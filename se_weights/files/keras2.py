"""`.h5`, the weights of Keras 2 (and the whole models that hold them), through h5py. Read only.

Each layer is a group with the names of its weights as an attribute. Keras names a layer that its code does not name
after its class and a counter, which began wherever the session stood: `conv2d_17`. Only the order of those numbers
means something, so they are counted anew from 0 here (`conv2d/0/kernel`), class by class. Weights of named layers keep
their path, without the model's own name where all share it, and without the `:0` of TensorFlow.
"""

import re
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from se_weights.errors import MalformedFile, UnsafeFile
from se_weights.files.stored import FLOATS, Format, Stored

AUTOMATIC = re.compile(r"(conv2d|batch_normalization|dense)(?:_(\d+))?")
"""The names that Keras gives to the layers of the classes that hold weights in a ResNet."""


def read(path: Path) -> Stored:
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            layers = _names(root, "layer_names")
            if not layers:
                raise MalformedFile(f"{path} is an HDF5 file, but not of Keras 2: it names no layers")
            return Stored(_renamed({layer: _weights(root, layer) for layer in layers}))
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise MalformedFile(f"{path} is not a readable HDF5 file of Keras 2: {error}") from error


def _weights(root: h5py.Group, layer: str) -> dict[str, NDArray]:
    group = root[layer]
    weights = {}
    for name in _names(group, "weight_names"):
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise UnsafeFile(f"{layer}/{name} is a link to elsewhere, which a weights file never needs")
        weights[name.removesuffix(":0")] = np.asarray(group[name])
    return weights


def _renamed(layers: dict[str, dict[str, NDArray]]) -> dict[str, NDArray]:
    automatic = {name: found for name in layers if layers[name] and (found := AUTOMATIC.fullmatch(name))}
    ordered = sorted(automatic, key=lambda name: int(automatic[name][2] or 0))
    counts: dict[str, int] = {}
    tensors: dict[str, NDArray] = {}
    for name in ordered:
        kind = automatic[name][1]
        number = counts.setdefault(kind, 0)
        counts[kind] += 1
        tensors |= {f"{kind}/{number}/{path.rpartition('/')[2]}": tensor for path, tensor in layers[name].items()}
    named = {path: tensor for name in layers if name not in automatic for path, tensor in layers[name].items()}
    return {**tensors, **_without_shared_root(named)}


def _without_shared_root(tensors: dict[str, NDArray]) -> dict[str, NDArray]:
    roots = {path.partition("/")[0] for path in tensors}
    if len(roots) != 1 or len(tensors) < 2:
        return tensors
    return {path.partition("/")[2]: tensor for path, tensor in tensors.items()}


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """A list of names; Keras cuts one that an HDF5 attribute cannot hold into `layer_names0`, `layer_names1`, ..."""
    pieces = [attribute] if attribute in group.attrs else [f"{attribute}{number}" for number in range(len(group.attrs))]
    return [_text(name) for piece in pieces if piece in group.attrs for name in group.attrs[piece]]


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


KERAS2 = Format("Keras 2 weights", (".h5", ".hdf5"), ("keras2",), FLOATS, read, None)
