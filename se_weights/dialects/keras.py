"""Keras 3: the variable paths of a live `se_tf` model, and the names in the weights file it saves.

A weights file does not hold the variables' paths. Keras addresses a layer of a model by its class and a counter
(`layers/se_bottleneck_4`), a layer inside it by its attribute, and a variable by its number; a list of layers by
class and counter again (keras 3.15, saving_lib.py). The counters are why a place depends on the whole architecture.
"""

import re

from se_spec import Architecture, Parameter, Role
from se_weights.dialects.dialect import Dialect, Place, Words

WORDS: Words = {
    Role.CONVOLUTION: ("kernel", "HWIO"),
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

CLASSES = {
    Role.CONVOLUTION: "convolution",
    Role.GAMMA: "batch_norm",
    Role.BETA: "batch_norm",
    Role.MEAN: "batch_norm",
    Role.VARIANCE: "batch_norm",
    Role.CLASSIFIER: "dense",
    Role.CLASSIFIER_BIAS: "dense",
}
"""The snake-case class of the `se_tf` layer that owns a parameter of each role."""

BLOCKS = {"basic": "se_basic_block", "bottleneck": "se_bottleneck"}


def layer_name(module: str) -> str:
    """The name of a layer of the model: `layer3_0` for `layer3.0`, since Keras's torch backend refuses dots."""
    return module.replace(".", "_")


def variable_path(parameter: Parameter) -> str:
    """The path of a variable of a live model, such as `layer3_0/conv2/kernel`."""
    path = parameter.module
    for joined in (r"^layer\d+\.\d+", r"downsample\.\d+"):
        path = re.sub(joined, lambda match: layer_name(match[0]), path)
    return f"{path.replace('.', '/')}/{WORDS[parameter.role][0]}"


def place(parameter: Parameter, architecture: Architecture) -> Place:
    word, axes = WORDS[parameter.role]
    return Place(f"layers/{_layer_path(parameter, architecture)}/vars/{NUMBERS[word]}", axes)


def _layer_path(parameter: Parameter, architecture: Architecture) -> str:
    stage, *inside = parameter.module.split(".")
    if not inside:
        return CLASSES[parameter.role]
    index, *attributes = inside
    before = sum(architecture.depths[: int(stage.removeprefix("layer")) - 1])
    block = _counted(BLOCKS[architecture.block], before + int(index))
    if attributes[0] == "downsample":
        attributes = ["downsample", CLASSES[parameter.role]]
    return "/".join([block, *attributes])


def _counted(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name


KERAS = Dialect("keras", "se_tf: the weights file of Keras 3, HWIO", place)
