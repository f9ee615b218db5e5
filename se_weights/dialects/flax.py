"""The trees of Flax: an NNX module's own, and Linen's, which keeps the running statistics in a collection apart."""

from se_spec import Architecture, Parameter, Role
from se_weights.dialects.dialect import Dialect, Place, Words

WORDS: Words = {
    Role.CONVOLUTION: ("kernel", "HWIO"),
    Role.GAMMA: ("scale", "C"),
    Role.BETA: ("bias", "C"),
    Role.MEAN: ("mean", "C"),
    Role.VARIANCE: ("var", "C"),
    Role.GATE: ("kernel", "IO"),
    Role.GATE_BIAS: ("bias", "O"),
    Role.CLASSIFIER: ("kernel", "IO"),
    Role.CLASSIFIER_BIAS: ("bias", "O"),
}


def nnx_place(parameter: Parameter, architecture: Architecture) -> Place:
    word, axes = WORDS[parameter.role]
    return Place(f"{parameter.module.replace('.', '/')}/{word}", axes)


def linen_place(parameter: Parameter, architecture: Architecture) -> Place:
    collection = "params" if parameter.role.learned else "batch_stats"
    place = nnx_place(parameter, architecture)
    return Place(f"{collection}/{place.name}", place.axes)


NNX = Dialect("nnx", "se_flax: the state of an NNX module as a tree, HWIO", nnx_place)
LINEN = Dialect("linen", "se_flax through nnx.bridge.to_linen: params and batch_stats, HWIO", linen_place)
