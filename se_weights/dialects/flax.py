"""Flax trees: the state of an NNX module, and Linen's, which has the running statistics in another collection."""

from se_spec import Architecture, Parameter, Role
from se_weights.dialects.dialect import Dialect, LeafNames, NameTable, Place
from se_weights.dialects.torch import no_hidden_config, published_hidden_config

LEAF_NAMES: LeafNames = {
    Role.CONVOLUTION: ("kernel", "HWIO"),
    Role.CONVOLUTION_BIAS: ("bias", "O"),
    Role.GAMMA: ("scale", "C"),
    Role.BETA: ("bias", "C"),
    Role.MEAN: ("mean", "C"),
    Role.VARIANCE: ("var", "C"),
    Role.GATE: ("kernel", "IO"),
    Role.GATE_BIAS: ("bias", "O"),
    Role.CHANNEL_CONVOLUTION: ("kernel", "WIO"),
    Role.CLASSIFIER: ("kernel", "IO"),
    Role.CLASSIFIER_BIAS: ("bias", "O"),
}


def nnx_path(parameter: Parameter) -> str:
    """The path of a parameter in the state of a module, such as `layer3/0/conv2/kernel`."""
    return f"{parameter.module.replace('.', '/')}/{LEAF_NAMES[parameter.role][0]}"


def nnx_place(parameter: Parameter, architecture: Architecture) -> Place:
    return Place((nnx_path(parameter),), LEAF_NAMES[parameter.role][1])


def random_streams(parameter: Parameter, place: Place) -> tuple[str, ...]:
    """The random numbers of the dropout layers, which are in the state of a module.

    Args:
        parameter: The parameter; not used.
        place: Where the parameter is stored; the dropout layers are next to its layer, or to one that contains it.

    Returns:
        The names that a key and a count may have.
    """
    modules = place.names[0].split("/")[:-1]
    outer = ["".join(f"{name}/" for name in modules[:length]) for length in range(len(modules))]
    streams = [f"{path}{name}/rngs" for path in outer for name in ("dropout", "drop_path")]
    return tuple(f"{stream}/{leaf}" for stream in streams for leaf in ("key", "count"))


def linen_place(parameter: Parameter, architecture: Architecture) -> Place:
    collection = "params" if parameter.role.learned else "batch_stats"
    return Place((f"{collection}/{nnx_path(parameter)}",), LEAF_NAMES[parameter.role][1])


NNX = Dialect(
    "nnx",
    "se_flax: the state of an NNX module as a tree, HWIO",
    "flax",
    {
        "se_resnet": NameTable(nnx_place, published_hidden_config),
        "se_densenet": NameTable(nnx_place, no_hidden_config),
    },
    random_streams,
    carries_config=True,
)
LINEN = Dialect(
    "linen",
    "se_flax through nnx.bridge.to_linen: params and batch_stats, HWIO",
    "flax",
    {
        "se_resnet": NameTable(linen_place, published_hidden_config),
        "se_densenet": NameTable(linen_place, no_hidden_config),
    },
    carries_config=True,
)
