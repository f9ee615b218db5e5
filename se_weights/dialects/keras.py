"""Keras 3: the variable paths of an `se_tf` model, and the names in the files that it saves.

A complete model in a legacy `.h5` file has the paths of its variables. Other files do not contain them: Keras names a
layer of a model by its class and a counter (`layers/se_bottleneck_4`), a layer inside it by its attribute, and a
variable by its index; the layers of a list again by class and counter (keras 3.15, saving_lib.py). Because of the
counters, a place depends on the whole architecture.
"""

from collections.abc import Mapping

from se_spec import Architecture, Layer, Parameter, Role, SEDenseNetArchitecture, SEResNetArchitecture
from se_spec.families.se_densenet import graph as se_densenet
from se_spec.families.se_resnet import graph as se_resnet
from se_weights.dialects.dialect import Dialect, Layers, LeafNames, NameTable, Place
from se_weights.dialects.torch import no_hidden_config, published_hidden_config

LEAF_NAMES: LeafNames = {
    Role.CONVOLUTION: ("kernel", "HWIO"),
    Role.CONVOLUTION_BIAS: ("bias", "O"),
    Role.GAMMA: ("gamma", "C"),
    Role.BETA: ("beta", "C"),
    Role.MEAN: ("moving_mean", "C"),
    Role.VARIANCE: ("moving_variance", "C"),
    Role.GATE: ("kernel", "IO"),
    Role.GATE_BIAS: ("bias", "O"),
    Role.CHANNEL_CONVOLUTION: ("kernel", "WIO"),
    Role.CLASSIFIER: ("kernel", "IO"),
    Role.CLASSIFIER_BIAS: ("bias", "O"),
}

VARIABLE_INDEX = {"kernel": 0, "bias": 1, "gamma": 0, "beta": 1, "moving_mean": 2, "moving_variance": 3}
"""The index of a variable in its layer: Keras layers create their variables in this order."""

RESNET_LAYERS: Layers = {
    **se_resnet.CANONICAL_LAYERS,
    Layer.CONVOLUTION: "layer{stage}_{index}/conv{number}",
    Layer.NORM: "layer{stage}_{index}/bn{number}",
    Layer.GATE: "layer{stage}_{index}/se/fc{number}",
    Layer.CHANNEL_GATE: "layer{stage}_{index}/se/conv",
    Layer.PROJECTION: "layer{stage}_{index}/downsample_0",
    Layer.PROJECTION_NORM: "layer{stage}_{index}/downsample_1",
}
DENSENET_LAYERS: Layers = {
    layer: str(path).replace(".", "_", 1).replace(".", "/") for layer, path in se_densenet.CANONICAL_LAYERS.items()
}
MODEL_LAYERS: Mapping[str, Layers] = {"se_resnet": RESNET_LAYERS, "se_densenet": DENSENET_LAYERS}
"""The paths of the layers in a model: `layer3_0` for `layer3.0`, since Keras's torch backend does not allow dots."""

BLOCK_LAYERS: Layers = {
    Layer.CONVOLUTION: "conv{number}",
    Layer.NORM: "bn{number}",
    Layer.GATE: "se/fc{number}",
    Layer.CHANNEL_GATE: "se/conv",
    Layer.PROJECTION: "downsample/convolution",
    Layer.PROJECTION_NORM: "downsample/batch_norm",
}
"""The paths of the layers in a block, in a file."""

TOP_LEVEL = {
    Layer.INPUT_NORM: "batch_norm",
    Layer.STEM_CONVOLUTION: "convolution",
    Layer.STEM_NORM: "batch_norm",
    Layer.LAST_NORM: "batch_norm",
    Layer.CLASSIFIER: "dense",
}
"""The layers outside the blocks, by their class in snake case."""

BLOCK_CLASSES = {
    ("post", "basic"): "se_basic_block",
    ("post", "bottleneck"): "se_bottleneck",
    ("pre", "basic"): "se_pre_act_basic_block",
    ("pre", "bottleneck"): "se_pre_act_bottleneck",
}
"""The classes of the blocks in snake case, by order and kind."""


def variable_path(parameter: Parameter, architecture: Architecture) -> str:
    """The path of a variable in a model, such as `layer3_0/conv2/kernel`."""
    return f"{parameter.path(MODEL_LAYERS[architecture.family])}/{LEAF_NAMES[parameter.role][0]}"


def h5_place(parameter: Parameter, architecture: Architecture) -> Place:
    return Place((variable_path(parameter, architecture),), LEAF_NAMES[parameter.role][1])


def resnet_place(parameter: Parameter, architecture: SEResNetArchitecture) -> Place:
    if parameter.layer in TOP_LEVEL:
        count = parameter.number - 1
        if parameter.layer in (Layer.STEM_NORM, Layer.LAST_NORM):
            count += architecture.input_norm
        if parameter.layer is Layer.LAST_NORM:
            count += sum(architecture.stem.norm and not each.folded for each in architecture.stem_convolutions)
        return _file_place(parameter, _counted(TOP_LEVEL[parameter.layer], count))
    before = sum(architecture.depths[: parameter.stage - 1])
    block = _counted(BLOCK_CLASSES[architecture.order, architecture.block], before + parameter.index)
    return _file_place(parameter, f"{block}/{parameter.path(BLOCK_LAYERS)}")


def densenet_place(parameter: Parameter, architecture: SEDenseNetArchitecture) -> Place:
    layer, _, inner = parameter.path(DENSENET_LAYERS).partition("/")
    if parameter.layer is Layer.LAST_NORM:
        counted = _counted("batch_norm", int(architecture.stem_norm and not architecture.folded))
    elif parameter.layer in TOP_LEVEL:
        counted = TOP_LEVEL[parameter.layer]
    elif parameter.layer in (Layer.STEM_GATE, Layer.BLOCK_GATE, Layer.LAST_GATE):
        counted = _counted("se_layer", _se_layers_before(parameter, architecture))
    else:
        counted = _counted("se_transition" if "transition" in layer else "se_dense_block", parameter.stage - 1)
    return _file_place(parameter, f"{counted}/{inner}" if inner else counted)


def _se_layers_before(parameter: Parameter, architecture: SEDenseNetArchitecture) -> int:
    """The number of SE layers outside the blocks and transitions that come before one."""
    if parameter.layer is Layer.STEM_GATE:
        return 0
    stem, blocks = "stem" in architecture.se_places, "block" in architecture.se_places
    if parameter.layer is Layer.BLOCK_GATE:
        return stem + parameter.stage - 1
    return stem + blocks * len(architecture.block_config)


def _file_place(parameter: Parameter, path: str) -> Place:
    leaf, axes = LEAF_NAMES[parameter.role]
    index = VARIABLE_INDEX[leaf] - (parameter.layer is Layer.INPUT_NORM)  # which has no gamma
    return Place((f"layers/{path}/vars/{index}",), axes)


def random_seeds(parameter: Parameter, place: Place) -> tuple[str, ...]:
    """The random seeds of the dropout layers, which earlier versions of Keras 3 saved with the weights.

    Args:
        parameter: The parameter; not used.
        place: Where the parameter is stored; the dropout layers are next to its layer, or to one that contains it.

    Returns:
        The names that the seeds may have.
    """
    layers = place.names[0].split("/")[:-2]
    outer = ["/".join(layers[:length]) for length in range(1, len(layers))]
    return tuple(f"{path}/{name}/seed_generator/vars/0" for path in outer for name in ("dropout", "drop_path"))


def _counted(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name


KERAS = Dialect(
    "keras",
    "se_tf: the weights file of Keras 3, HWIO",
    "keras",
    {
        "se_resnet": NameTable(resnet_place, published_hidden_config),
        "se_densenet": NameTable(densenet_place, no_hidden_config),
    },
    random_seeds,
    carries_config=True,
)

KERAS_H5 = Dialect(
    "keras-h5",
    "se_tf: a complete model in a legacy .h5 file of Keras 3, HWIO",
    "keras2",
    {
        "se_resnet": NameTable(h5_place, published_hidden_config),
        "se_densenet": NameTable(h5_place, no_hidden_config),
    },
    carries_config=True,
)
