"""`.h5`, the weights files of Keras 2, and the complete models of Keras 2 and 3 that contain them. Read only.

Each layer is a group with an attribute that lists the names of its weights. Keras names a layer that its code does not
name after its class and a counter that runs through the whole session: `conv2d_17`. Only the order of these numbers
matters, so layers are numbered again from 0, class by class: `conv2d/0/kernel`. Weights of named layers keep their
path, without the name of the model if all share it, and without the `:0` of TensorFlow.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from se_weights.files.contents import FileContents, Tensor
from se_weights.files.hdf5.listing import Listing, list_sandboxed, open_listing
from se_weights.files.json_document import DuplicateKey, parse_object
from se_weights.refusals import refuse

AUTOMATIC = re.compile(r"(conv2d|batch_normalization|dense)(?:_(\d{1,9}))?")
"""The names that Keras gives to the layers of the classes that hold weights in a ResNet."""

OUR_MODEL = "SEResNet"
"""How the name of the class of se_tf's models ends, whose config contains their architecture."""

MODEL = "model_weights"
"""The group of the weights in a complete model; in a weights file they are at the root."""


@contextmanager
def open_contents(path: Path) -> Iterator[FileContents]:
    """Opens a file, whose tensors can be loaded until it is closed. Raises WeightsError."""
    with open_listing(path, list_sandboxed) as listing:
        root = MODEL if MODEL in listing.names else ""
        layers = _names(listing, root, "layer_names")
        if len(set(layers)) != len(layers):
            duplicate = next(layer for layer in layers if layers.count(layer) > 1)
            raise refuse("hdf5.layers", f"it lists the layer {duplicate} twice")
        tensors = _renamed({layer: _weights(listing, root, layer) for layer in layers})
        yield FileContents(tensors, architectures=_architectures(listing.model_config))


def _architectures(model_config: str) -> dict[str, str]:
    """The JSON of the architecture of the one network of se_tf in the config of a model, if there is one."""
    if OUR_MODEL not in model_config:
        return {}
    try:
        stack: list[Any] = [parse_object(model_config, "metadata.json")]
    except DuplicateKey as error:
        raise refuse("metadata.json", f"the config of its model: {error}") from error
    found = set()
    while stack:
        match stack.pop():
            case {"class_name": str(name), "config": {"architecture": dict() as config}} if name.endswith(OUR_MODEL):
                found.add(json.dumps(config))
            case dict() as branch:
                stack += branch.values()
            case list() as branch:
                stack += branch
    return {"": found.pop()} if len(found) == 1 else {}


def _weights(listing: Listing, root: str, layer: str) -> dict[str, Tensor]:
    group = f"{root}/{layer}" if root else layer
    weights = {}
    for name in _names(listing, group, "weight_names"):
        path = f"{group}/{name}"
        if path not in listing.contents.tensors:
            raise refuse("hdf5.layers", f"it lists {path}, which it does not contain")
        weights[name.removesuffix(":0")] = listing.contents.tensors[path]
    return weights


def _renamed(layers: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    automatic = {name: match for name in layers if layers[name] and (match := AUTOMATIC.fullmatch(name))}
    ordered = sorted(automatic, key=lambda name: int(automatic[name][2] or 0))
    counts: dict[str, int] = {}
    tensors: dict[str, Tensor] = {}
    for name in ordered:
        kind = automatic[name][1]
        number = counts.setdefault(kind, 0)
        counts[kind] += 1
        tensors |= {f"{kind}/{number}/{path.rpartition('/')[2]}": tensor for path, tensor in layers[name].items()}
    named = {path: tensor for name in layers if name not in automatic for path, tensor in layers[name].items()}
    return {**tensors, **_without_shared_root(named)}


def _without_shared_root(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    roots = {path.partition("/")[0] for path in tensors}
    if len(roots) != 1 or len(tensors) < 2:
        return tensors
    return {path.partition("/")[2]: tensor for path, tensor in tensors.items()}


def _names(listing: Listing, group: str, attribute: str) -> list[str]:
    names = listing.names.get(group, {}).get(attribute)
    if names is None:
        raise refuse("hdf5.layers", f"{group or 'it'} has no {attribute}")
    return names
