"""Keras 3: the variable paths of an `se_tf` model, and the names in the files that it saves.

A complete model in a legacy `.h5` file has the paths of its variables. Other files do not contain them: Keras names a
layer of a model by its class and a counter (`layers/se_bottleneck_4`), a layer inside it by its attribute, and a
variable by its index; the layers of a list again by class and counter (keras 3.15, saving_lib.py). Because of the
counters, a place depends on the whole architecture.
"""

from se_spec import Architecture, Layer, Parameter, Role, SEResNetArchitecture
from se_spec.families.se_resnet.graph import CANONICAL_LAYERS
from se_weights.dialects.dialect import Dialect, Layers, LeafNames, NameTable, Place
from se_weights.dialects.torch import published_hidden_config

LEAF_NAMES: LeafNames = {
    Role.CONVOLUTION: ("kernel", "HWIO"),
    Role.CONVOLUTION_BIAS: ("bias", "O"),
    Role.GAMMA: ("gamma", "C"),
    Role.BETA: ("beta", "C"),
    Role.MEAN: ("moving_mean", "C"),
    Role.VARIANCE: ("moving_variance", "C"),
    Role.GATE: ("kernel", "IO"),
    Role.GATE_BIAS: ("bias", "O"),
    Role.CLASSIFIER: ("kernel", "IO"),
    Role.CLASSIFIER_BIAS: ("bias", "O"),
}

VARIABLE_INDEX = {"kernel": 0, "bias": 1, "gamma": 0, "beta": 1, "moving_mean": 2, "moving_variance": 3}
"""The index of a variable in its layer: Keras layers create their variables in this order."""

MODEL_LAYERS: Layers = {
    **CANONICAL_LAYERS,
    Layer.CONVOLUTION: "layer{stage}_{index}/conv{number}",
    Layer.NORM: "layer{stage}_{index}/bn{number}",
    Layer.GATE: "layer{stage}_{index}/se/fc{number}",
    Layer.PROJECTION: "layer{stage}_{index}/downsample_0",
    Layer.PROJECTION_NORM: "layer{stage}_{index}/downsample_1",
}
"""The paths of the layers in a model: `layer3_0` for `layer3.0`, since Keras's torch backend does not allow dots."""

BLOCK_LAYERS: Layers = {
    Layer.CONVOLUTION: "conv{number}",
    Layer.NORM: "bn{number}",
    Layer.GATE: "se/fc{number}",
    Layer.PROJECTION: "downsample/convolution",
    Layer.PROJECTION_NORM: "downsample/batch_norm",
}
"""The paths of the layers in a block, in a file."""

TOP_LEVEL = {Layer.STEM_CONVOLUTION: "convolution", Layer.STEM_NORM: "batch_norm", Layer.CLASSIFIER: "dense"}
"""The layers outside the blocks, by their class in snake case."""

BLOCK_CLASSES = {"basic": "se_basic_block", "bottleneck": "se_bottleneck"}


def variable_path(parameter: Parameter) -> str:
    """The path of a variable in a model, such as `layer3_0/conv2/kernel`."""
    return f"{parameter.path(MODEL_LAYERS)}/{LEAF_NAMES[parameter.role][0]}"


def h5_place(parameter: Parameter, architecture: Architecture) -> Place:
    return Place((variable_path(parameter),), LEAF_NAMES[parameter.role][1])


def place(parameter: Parameter, architecture: SEResNetArchitecture) -> Place:
    leaf, axes = LEAF_NAMES[parameter.role]
    return Place((f"layers/{_layer_path(parameter, architecture)}/vars/{VARIABLE_INDEX[leaf]}",), axes)


def random_seeds(parameter: Parameter, place: Place) -> tuple[str, ...]:
    """The random seeds of the dropout layers, which earlier versions of Keras 3 saved with the weights.

    Args:
        parameter: The parameter; the seed of dropout is next to the classifier, that of drop path is in each block.
        place: Where the parameter is stored.

    Returns:
        The name of the seed; none for a parameter of the stem.
    """
    if parameter.role is Role.CLASSIFIER:
        return ("layers/dropout/seed_generator/vars/0",)
    layers, block = place.names[0].split("/")[:2]
    return (f"{layers}/{block}/drop_path/seed_generator/vars/0",) if parameter.stage else ()


def _layer_path(parameter: Parameter, architecture: SEResNetArchitecture) -> str:
    if parameter.layer in TOP_LEVEL:
        return _counted(TOP_LEVEL[parameter.layer], parameter.number - 1)
    before = sum(architecture.depths[: parameter.stage - 1])
    block = _counted(BLOCK_CLASSES[architecture.block], before + parameter.index)
    return f"{block}/{parameter.path(BLOCK_LAYERS)}"


def _counted(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name


KERAS = Dialect(
    "keras",
    "se_tf: the weights file of Keras 3, HWIO",
    "keras",
    {"se_resnet": NameTable(place, published_hidden_config)},
    random_seeds,
    carries_config=True,
)

KERAS_H5 = Dialect(
    "keras-h5",
    "se_tf: a complete model in a legacy .h5 file of Keras 3, HWIO",
    "keras2",
    {"se_resnet": NameTable(h5_place, published_hidden_config)},
    carries_config=True,
)
