"""Keras 3: the variable paths of a live `se_tf` model, and the names in the weights file it saves.

A weights file does not hold the variables' paths. Keras addresses a layer of a model by its class and a counter
(`layers/se_bottleneck_4`), a layer inside it by its attribute, and a variable by its number; a list of layers by
class and counter again (keras 3.15, saving_lib.py). The counters are why a place depends on the whole architecture.
"""

from se_spec import Architecture, Layer, Parameter, Role
from se_spec.manifest import CANONICAL_LAYERS
from se_weights.dialects.dialect import Dialect, Layers, Place, Words
from se_weights.dialects.torch import own_hidden_config

WORDS: Words = {
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

NUMBERS = {"kernel": 0, "bias": 1, "gamma": 0, "beta": 1, "moving_mean": 2, "moving_variance": 3}
"""The order in which Keras's layers create, and so number, their variables."""

LIVE: Layers = {
    **CANONICAL_LAYERS,
    Layer.CONVOLUTION: "layer{stage}_{index}/conv{number}",
    Layer.NORM: "layer{stage}_{index}/bn{number}",
    Layer.GATE: "layer{stage}_{index}/se/fc{number}",
    Layer.PROJECTION: "layer{stage}_{index}/downsample_0",
    Layer.PROJECTION_NORM: "layer{stage}_{index}/downsample_1",
}
"""The paths of a live model's layers: `layer3_0` for `layer3.0`, since Keras's torch backend refuses dots."""

INSIDE: Layers = {
    Layer.CONVOLUTION: "conv{number}",
    Layer.NORM: "bn{number}",
    Layer.GATE: "se/fc{number}",
    Layer.PROJECTION: "downsample/convolution",
    Layer.PROJECTION_NORM: "downsample/batch_norm",
}
"""The paths of the layers inside a block, in a file."""

TOP = {Layer.STEM_CONVOLUTION: "convolution", Layer.STEM_NORM: "batch_norm", Layer.CLASSIFIER: "dense"}
"""The snake-case classes of the layers outside the blocks."""

BLOCKS = {"basic": "se_basic_block", "bottleneck": "se_bottleneck"}


def variable_path(parameter: Parameter) -> str:
    """The path of a variable of a live model, such as `layer3_0/conv2/kernel`."""
    return f"{parameter.path(LIVE)}/{WORDS[parameter.role][0]}"


def place(parameter: Parameter, architecture: Architecture) -> Place:
    word, axes = WORDS[parameter.role]
    return Place((f"layers/{_layer_path(parameter, architecture)}/vars/{NUMBERS[word]}",), axes)


def dropout_seed(parameter: Parameter, place: Place) -> str | None:
    """Keras saves the state of a dropout's random numbers beside the weights."""
    return "layers/dropout/seed_generator/vars/0" if parameter.role is Role.CLASSIFIER else None


def _layer_path(parameter: Parameter, architecture: Architecture) -> str:
    if parameter.layer in TOP:
        return _counted(TOP[parameter.layer], parameter.number - 1)
    before = sum(architecture.depths[: parameter.stage - 1])
    block = _counted(BLOCKS[architecture.block], before + parameter.index)
    return f"{block}/{parameter.path(INSIDE)}"


def _counted(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name


KERAS = Dialect(
    "keras",
    "se_tf: the weights file of Keras 3, HWIO",
    "keras",
    place,
    own_hidden_config,
    {},
    dropout_seed,
    carries_config=True,
)
