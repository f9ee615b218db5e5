"""Flax trees: the state of an NNX module, and Linen's, which has the running statistics in another collection."""

from se_spec import Architecture, Parameter, Role
from se_weights.dialects.dialect import Dialect, LeafNames, Place
from se_weights.dialects.torch import published_hidden_config

LEAF_NAMES: LeafNames = {
    Role.CONVOLUTION: ("kernel", "HWIO"),
    Role.CONVOLUTION_BIAS: ("bias", "O"),
    Role.GAMMA: ("scale", "C"),
    Role.BETA: ("bias", "C"),
    Role.MEAN: ("mean", "C"),
    Role.VARIANCE: ("var", "C"),
    Role.GATE: ("kernel", "IO"),
    Role.GATE_BIAS: ("bias", "O"),
    Role.CLASSIFIER: ("kernel", "IO"),
    Role.CLASSIFIER_BIAS: ("bias", "O"),
}


def nnx_path(parameter: Parameter) -> str:
    """The path of a parameter in the state of a module, such as `layer3/0/conv2/kernel`."""
    return f"{parameter.module.replace('.', '/')}/{LEAF_NAMES[parameter.role][0]}"


def nnx_place(parameter: Parameter, architecture: Architecture) -> Place:
    return Place((nnx_path(parameter),), LEAF_NAMES[parameter.role][1])


def linen_place(parameter: Parameter, architecture: Architecture) -> Place:
    collection = "params" if parameter.role.learned else "batch_stats"
    return Place((f"{collection}/{nnx_path(parameter)}",), LEAF_NAMES[parameter.role][1])


NNX = Dialect(
    "nnx",
    "se_flax: the state of an NNX module as a tree, HWIO",
    "flax",
    nnx_place,
    published_hidden_config,
    {},
    carries_config=True,
)
LINEN = Dialect(
    "linen",
    "se_flax through nnx.bridge.to_linen: params and batch_stats, HWIO",
    "flax",
    linen_place,
    published_hidden_config,
    {},
    carries_config=True,
)
