"""Keras 2 files: qubvel's classification_models (image-classifiers 1.0.0), and tfimm.

qubvel does not name its layers, so Keras names a layer by its class and a counter in order of creation: in a block
first the convolutions of the residual branch, then that of the shortcut, then the two of the SE. A grouped convolution
is one layer for each group. The reader of `.h5` files makes all counters start at 0.
qubvel's SE-ResNet-18 and 34 are different networks (pre-activation, with a norm on the image) and are not supported.
"""

from collections.abc import Iterator
from functools import cache

from se_spec import Convolution, Layer, Parameter, Role, SEResNetArchitecture
from se_spec.graph import LayerPosition
from se_weights.dialects import timm
from se_weights.dialects.dialect import Config, Dialect, NameTable, Place, make_hidden_config
from se_weights.dialects.keras import LEAF_NAMES
from se_weights.dialects.timm import imagenet

CLASSES = {
    Layer.STEM_CONVOLUTION: "conv2d",
    Layer.STEM_NORM: "batch_normalization",
    Layer.CONVOLUTION: "conv2d",
    Layer.NORM: "batch_normalization",
    Layer.PROJECTION: "conv2d",
    Layer.PROJECTION_NORM: "batch_normalization",
    Layer.GATE: "conv2d",
    Layer.CLASSIFIER: "dense",
}
QUBVEL_EPSILON = 9.999999747378752e-06
"""1e-5 rounded to float32, as it is written in image-classifiers' senet.py."""


def qubvel_place(parameter: Parameter, architecture: SEResNetArchitecture) -> Place:
    leaf, axes = LEAF_NAMES[parameter.role]
    axes = "11IO" if parameter.role is Role.GATE else axes
    position = LayerPosition(parameter.layer, parameter.stage, parameter.index, parameter.number)
    counters = _keras_counters(architecture).get(position, ())
    return Place(tuple(f"{CLASSES[parameter.layer]}/{counter}/{leaf}" for counter in counters) or ("none",), axes)


@cache
def _keras_counters(architecture: SEResNetArchitecture) -> dict[LayerPosition, tuple[int, ...]]:
    """The counters of the Keras layers that make up each of our layers."""
    counts = dict.fromkeys(CLASSES.values(), 0)
    counters: dict[LayerPosition, tuple[int, ...]] = {}
    for position, layers in _creation_order(architecture):
        kind = CLASSES[position.layer]
        counters[position] = tuple(range(counts[kind], counts[kind] + layers))
        counts[kind] += layers
    return counters


def _creation_order(architecture: SEResNetArchitecture) -> Iterator[tuple[LayerPosition, int]]:
    """Our layers in the order in which qubvel's code creates them, each with its number of Keras layers.

    That is the order of the graph, except that the SE of a block is created after its shortcut.
    """
    layers = [(node.position, node.operation) for node in architecture.graph.nodes if node.position]
    blocks = list(dict.fromkeys((position.stage, position.index) for position, _ in layers))
    for position, operation in sorted(
        layers, key=lambda layer: (blocks.index((layer[0].stage, layer[0].index)), layer[0].layer is Layer.GATE)
    ):
        yield position, operation.groups if isinstance(operation, Convolution) else 1


def qubvel_hidden_config(architecture: SEResNetArchitecture) -> Config | None:
    """As in Cadene's networks, whose weights these are, but with a max pool that is padded by one pixel."""
    if not architecture.se or architecture.block == "basic":
        return None
    stride_in = "conv1" if architecture.groups == 1 else "conv2"
    dropout = 0.2 if architecture.stem.inner else 0.0
    return make_hidden_config(architecture, stride_in=stride_in, epsilon=QUBVEL_EPSILON, dropout=dropout)


def tfimm_place(parameter: Parameter, architecture: SEResNetArchitecture) -> Place:
    leaf, axes = LEAF_NAMES[parameter.role]
    layers = {**timm.layers(architecture), Layer.CLASSIFIER: "remove.fc"}
    path = parameter.path(layers).replace(".", "/")
    return Place((f"{path}/{leaf}",), "11IO" if parameter.role is Role.GATE else axes)


QUBVEL_CONFIG: Config = {"se": True, "squeeze": {"bias": True, "rounding": "floor"}, "conv_bias": False}

QUBVEL = Dialect(
    "qubvel",
    "qubvel's classification_models: Keras 2, unnamed layers, one kernel a group",
    "keras2",
    {"se_resnet": NameTable(qubvel_place, qubvel_hidden_config, QUBVEL_CONFIG, imagenet)},
)
TFIMM = Dialect(
    "tfimm",
    "tfimm: timm's names with slashes, HWIO",
    "keras2",
    {"se_resnet": NameTable(tfimm_place, timm.hidden_config, timm.SE_RESNET.fixed_config, imagenet)},
)
