"""Cases 87 to 91: weights files of Keras 2 and 3, and .keras archives."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

import se_weights
from parity_tests.hostile.archive import Record, archive, bomb, records
from parity_tests.hostile.case import Case, Make, ValidFiles, accepted, corrupted, file_with
from parity_tests.support.cases import small_network

LINK = 0o120777
"""The mode of a symbolic link."""

LAMBDA = {
    "module": "builtins",
    "class_name": "Lambda",
    "config": {"function": {"class_name": "__lambda__", "config": {"code": "4wEAAAABAAAA", "defaults": None}}},
}
FOREIGN = {"module": "os", "class_name": "system", "config": {"command": "touch ran"}, "registered_name": "system"}

SHARDS = {"metadata": {"total_size": 8}, "weight_map": {"/layers/dense/vars": "../../../etc/passwd"}}


def keras2_weights(valid: ValidFiles) -> dict[str, NDArray]:
    """Weights of a network with biases in its gates, as Keras 2 code bases have them."""
    return dict(small_network(se_bias=True).weights)


def keras2_layers(valid: ValidFiles) -> dict[str, dict[str, NDArray]]:
    """The arrays of each layer, numbered as in a Keras 2 session that has made seven layers of each kind before."""
    network = small_network(se_bias=True)
    layers: dict[str, dict[str, NDArray]] = {}
    for parameter, place in se_weights.DIALECTS["qubvel"].places(network.architecture).items():
        kind, number, leaf = place.names[0].split("/")
        layer = f"{kind}_{int(number) + 7}"
        array = se_weights.relayout(network.weights[parameter.name], parameter.axes, place.axes)
        layers.setdefault(layer, {})[f"{layer}/{leaf}:0"] = array
    return layers


def keras2_file(change: Callable[[h5py.File], object] = lambda file: None, name: str = "weights.h5") -> Make:
    """A weights file of Keras 2, changed by `change`."""

    def make(folder: Path, valid: ValidFiles) -> Path:
        with h5py.File(folder / name, "w") as file:
            layers = keras2_layers(valid)
            file.attrs["layer_names"] = [layer.encode() for layer in layers]
            for layer, arrays in layers.items():
                group = file.create_group(layer)
                group.attrs["weight_names"] = [path.encode() for path in arrays]
                for path, array in arrays.items():
                    group[path] = array
            change(file)
        return folder / name

    return make


def without_names(file: h5py.File) -> None:
    del file.attrs["layer_names"]


def without_weight_names(file: h5py.File) -> None:
    del file["dense_7"].attrs["weight_names"]


def names(value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file.attrs["layer_names"] = value

    return change


def in_chunks(file: h5py.File) -> None:
    """Splits the list of layers as Keras does where it is too long for one attribute."""
    layers = file.attrs["layer_names"]
    del file.attrs["layer_names"]
    for number, chunk in enumerate(np.array_split(layers, 3)):
        file.attrs[f"layer_names{number}"] = chunk


def named_twice(file: h5py.File) -> None:
    layers = file.attrs["layer_names"]
    file.attrs["layer_names"] = [*layers, layers[0]]


def linked(file: h5py.File) -> None:
    del file["dense_7/dense_7/bias:0"]
    file["dense_7/dense_7/bias:0"] = h5py.ExternalLink("/etc/passwd", "/")


def rezipped(change: Callable[[dict[str, Record]], Mapping[str, Record]]) -> Make:
    """The valid archive with its records changed."""

    def rebuilt(content: bytes) -> bytes:
        return archive(change({record.name: record for record in records(content)}).values())

    return corrupted(".keras", rebuilt)


def with_record(name: str, content: bytes = b"pass", **more: object) -> Make:
    return rezipped(lambda found: found | {name: Record(name, content, **more)})


def with_layer(layer: Mapping[str, object]) -> Make:
    """The valid archive with this layer in the config of the model."""

    def change(found: dict[str, Record]) -> dict[str, Record]:
        config = json.loads(found["config.json"].content)
        config["config"]["layers"] = [layer]
        config["module"], config["compile_config"] = "os", {"optimizer": layer}
        return found | {"config.json": Record("config.json", json.dumps(config).encode())}

    return rezipped(change)


def in_shards(found: dict[str, Record]) -> dict[str, Record]:
    del found["model.weights.h5"]
    index = Record("model.weights.json", json.dumps(SHARDS).encode())
    return found | {index.name: index}


def without_weights(found: dict[str, Record]) -> dict[str, Record]:
    del found["model.weights.h5"]
    return found


def renamed(suffix: str, name: str) -> Make:
    return corrupted(suffix, bytes, name)


archived = partial(Case, made_with="keras")
"""A case of an archive that Keras itself writes."""

CASES = (
    Case("87a", "no list of layers", keras2_file(without_names), 3, "hdf5.layers"),
    Case("87b", "a number for the list of layers", keras2_file(names(7)), 3, "hdf5.layers"),
    Case("87c", "numbers in the list of layers", keras2_file(names([1.5, 2.5])), 3, "hdf5.layers"),
    Case("87d", "a layer that is not there", keras2_file(names([b"conv2d_99"])), 3, "hdf5.layers", says="conv2d_99"),
    Case(
        "87e",
        "a layer's path that leads up",
        keras2_file(names([b"../conv2d_7"])),
        3,
        "hdf5.layers",
        says="../conv2d_7",
    ),
    Case(
        "87f", "a layer without a list of weights", keras2_file(without_weight_names), 3, "hdf5.layers", says="dense_7"
    ),
    Case("87g", "a layer that is listed twice", keras2_file(named_twice), 3, "hdf5.layers", says="conv2d_7"),
    accepted("87h", "a list of layers in pieces", keras2_file(in_chunks), weights=keras2_weights),
    Case("87i", "a link to another file in a layer", keras2_file(linked), 4, "hdf5.link", says="dense_7"),
    Case("88a", "weights of Keras 2 named .weights.h5", keras2_file(name="weights.weights.h5"), 3, "file.other"),
    Case("88b", "weights of Keras 3 named .h5", renamed(".weights.h5", "weights.h5"), 3, "hdf5.layers"),
    archived("88c", "a Keras archive named .weights.h5", renamed(".keras", "weights.weights.h5"), 3, "file.other"),
    Case("88d", "weights of Keras 3 named .keras", renamed(".weights.h5", "weights.keras"), 3, "file.other"),
    Case("88e", "an npz file named .keras", renamed(".npz", "weights.keras"), 3, "keras.archive"),
    accepted("89a", "a configuration with a Lambda, which is not looked at", with_layer(LAMBDA), made_with="keras"),
    accepted("89b", "a configuration that names os.system", with_layer(FOREIGN), made_with="keras"),
    archived("90a", "a record that leads up", with_record("../evil.py"), 3, "zip.name", says="../evil.py"),
    archived("90b", "a record that leads up by Windows' way", with_record(r"..\evil.py"), 3, "zip.name"),
    archived("90c", "a record of a whole path", with_record("/tmp/evil.py"), 3, "zip.name", says="/tmp/evil"),
    archived(
        "90d",
        "a record that is a symbolic link",
        with_record("assets/more", b"/etc/passwd", mode=LINK),
        4,
        "file.link",
        says="assets/more",
    ),
    archived(
        "90e", "600 megabytes of zeros beside the weights", with_record("assets/more", **bomb(600)), 4, "file.bomb"
    ),
    archived(
        "90f", "600 megabytes of zeros for the weights", with_record("model.weights.h5", **bomb(600)), 4, "file.bomb"
    ),
    archived("90g", "an archive without weights", rezipped(without_weights), 3, "keras.archive"),
    archived("91a", "weights in shards, of which one leads out", rezipped(in_shards), 5, "keras.sharded"),
    Case(
        "91b",
        "the list of such shards",
        file_with("model.weights.json", json.dumps(SHARDS).encode()),
        4,
        "shards.path",
    ),
)
