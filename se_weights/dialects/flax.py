"""The trees of Flax: an NNX module's own, and Linen's, which keeps the running statistics in a collection apart."""

from se_spec import Architecture, Parameter, Role
from se_weights.dialects.dialect import Dialect, Place, Words
from se_weights.dialects.torch import own_hidden_config

WORDS: Words = {
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
    return f"{parameter.module.replace('.', '/')}/{WORDS[parameter.role][0]}"


def nnx_place(parameter: Parameter, architecture: Architecture) -> Place:
    return Place((nnx_path(parameter),), WORDS[parameter.role][1])


def linen_place(parameter: Parameter, architecture: Architecture) -> Place:
    collection = "params" if parameter.role.learned else "batch_stats"
    return Place((f"{collection}/{nnx_path(parameter)}",), WORDS[parameter.role][1])


NNX = Dialect(
    "nnx",
    "se_flax: the state of an NNX module as a tree, HWIO",
    "flax",
    nnx_place,
    own_hidden_config,
    {},
    carries_config=True,
)
LINEN = Dialect(
    "linen",
    "se_flax through nnx.bridge.to_linen: params and batch_stats, HWIO",
    "flax",
    linen_place,
    own_hidden_config,
    {},
    carries_config=True,
)
