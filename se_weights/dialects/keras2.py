"""Keras 2 files: qubvel's classification_models (image-classifiers 1.0.0), and tfimm.

qubvel does not name the layers of its SE-ResNets from 50 up, so Keras names a layer by its class and a counter in order
of creation: in a block those of the residual branch, then that of the shortcut, then the two of the SE.
A grouped convolution is one layer for each group. The reader of `.h5` files makes all counters start at 0.
qubvel's SE-ResNet-18 and 34 and its ResNets have their norms before their convolutions and one on the images, and names
for all layers but those of the SE.
"""

from collections.abc import Iterator
from functools import cache

from se_spec import Convolution, Layer, Parameter, Role, SEResNetArchitecture
from se_spec.graph import NO_LAYER, LayerPosition
from se_weights.dialects import timm
from se_weights.dialects.dialect import Config, Dialect, Layers, NameTable, Place, make_hidden_config
from se_weights.dialects.keras import LEAF_NAMES
from se_weights.dialects.timm import imagenet
from se_weights.preprocessing import RAW, Preprocessing

VARIANTS = ("pre-activation", "final norm", "input norm", "shortcut without norm")
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
PRE_ACTIVATION: Layers = {
    Layer.INPUT_NORM: "bn_data",
    Layer.STEM_CONVOLUTION: "conv0",
    Layer.STEM_NORM: "bn0",
    Layer.CONVOLUTION: "stage{stage}_unit{unit}_conv{number}",
    Layer.NORM: "stage{stage}_unit{unit}_bn{number}",
    Layer.PROJECTION: "stage{stage}_unit{unit}_sc",
    Layer.LAST_NORM: "bn1",
    Layer.CLASSIFIER: "fc1",
}
PRE_ACTIVATION_EPSILON = 2e-5
QUBVEL_EPSILON = 9.999999747378752e-06
"""1e-5 rounded to float32, as it is written in image-classifiers' senet.py."""


def qubvel_place(parameter: Parameter, architecture: SEResNetArchitecture) -> Place:
    leaf, axes = LEAF_NAMES[parameter.role]
    axes = "11IO" if parameter.role is Role.GATE else axes
    if architecture.order == "pre" and parameter.layer is not Layer.GATE:
        return Place((f"{parameter.path(PRE_ACTIVATION)}/{leaf}",), axes)
    position = LayerPosition(parameter.layer, parameter.stage, parameter.index, parameter.number)
    kind = CLASSES.get(parameter.layer, NO_LAYER)
    counters = _keras_counters(architecture).get(position, ())
    return Place(tuple(f"{kind}/{counter}/{leaf}" for counter in counters) or ("none",), axes)


@cache
def _keras_counters(architecture: SEResNetArchitecture) -> dict[LayerPosition, tuple[int, ...]]:
    """The counters of the Keras layers that make up each of our layers."""
    counts = dict.fromkeys(CLASSES.values(), 0)
    counters: dict[LayerPosition, tuple[int, ...]] = {}
    for position, layers in _creation_order(architecture):
        if architecture.order == "pre" and position.layer is not Layer.GATE:
            continue
        kind = CLASSES.get(position.layer, NO_LAYER)
        counts.setdefault(kind, 0)
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
    if architecture.order == "pre":
        return make_hidden_config(architecture, variants=VARIANTS, epsilon=PRE_ACTIVATION_EPSILON)
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


def qubvel_config(architecture: SEResNetArchitecture) -> Config:
    """Its networks without SE are those before activation, which all have the same norms."""
    squeeze = {"squeeze": {"bias": True, "rounding": "floor"}} if architecture.se else {}
    if architecture.order == "pre":
        norms = {"input_norm": True, "final_norm": True, "shortcut": {"norm": False}}
        return {"conv_bias": False, **norms, **squeeze}
    return {"se": True, "squeeze": {"bias": True, "rounding": "floor"}, "conv_bias": False}


def qubvel_preprocessing(architecture: SEResNetArchitecture) -> Preprocessing | None:
    return RAW if architecture.input_norm else imagenet(architecture)


QUBVEL = Dialect(
    "qubvel",
    "qubvel's classification_models: Keras 2, unnamed layers, one kernel a group; pre-activation: stage1_unit1_conv1",
    "keras2",
    {
        "se_resnet": NameTable(
            qubvel_place,
            qubvel_hidden_config,
            qubvel_config,
            qubvel_preprocessing,
            names_depend_on=("num_classes",),
        )
    },
    ends_in_softmax=True,
)
TFIMM = Dialect(
    "tfimm",
    "tfimm: timm's names with slashes, HWIO",
    "keras2",
    {
        "se_resnet": NameTable(
            tfimm_place,
            timm.hidden_config,
            timm.SE_RESNET.fixed_config,
            imagenet,
            names_depend_on=timm.SE_RESNET.names_depend_on,
        )
    },
)
