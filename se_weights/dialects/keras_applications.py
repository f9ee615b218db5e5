"""The DenseNets of keras.applications (keras 3.15): a legacy `.h5` names their layers, Keras 3's own files do not.

Their epsilon is 1.001e-5, and their last layer a softmax: the logits are what the dense layer computes before it.
"""

from se_spec import Layer, Parameter, SEDenseNetArchitecture
from se_spec.graph import NO_LAYER
from se_weights.dialects.dialect import Config, Dialect, Layers, NameTable, Place, make_densenet_config
from se_weights.dialects.keras import LEAF_NAMES, VARIABLE_INDEX
from se_weights.preprocessing import IMAGENET, Preprocessing

EPSILON = 1.001e-5

LAYERS: Layers = {
    Layer.STEM_CONVOLUTION: "conv1_conv",
    Layer.STEM_NORM: "conv1_bn",
    Layer.NORM: ("conv{next}_block{unit}_0_bn", "conv{next}_block{unit}_1_bn"),
    Layer.CONVOLUTION: ("conv{next}_block{unit}_1_conv", "conv{next}_block{unit}_2_conv"),
    Layer.TRANSITION_NORM: "pool{next}_bn",
    Layer.TRANSITION_CONVOLUTION: "pool{next}_conv",
    Layer.LAST_NORM: "bn",
    Layer.CLASSIFIER: "predictions",
}
CLASSES = {
    layer: "dense" if layer is Layer.CLASSIFIER else "batch_normalization" if "norm" in layer else "conv2d"
    for layer in LAYERS
}
"""The class of the Keras layer that each of our layers is."""


def h5_place(parameter: Parameter, architecture: SEDenseNetArchitecture) -> Place:
    leaf, axes = LEAF_NAMES[parameter.role]
    return Place((f"{parameter.path(LAYERS)}/{leaf}",), axes)


def place(parameter: Parameter, architecture: SEDenseNetArchitecture) -> Place:
    leaf, axes = LEAF_NAMES[parameter.role]
    kind = CLASSES.get(parameter.layer)
    number = _layers_before(parameter, architecture) if kind != "dense" else 0
    path = f"{kind}_{number}" if number else kind or NO_LAYER
    return Place((f"layers/{path}/vars/{VARIABLE_INDEX[leaf]}",), axes)


def _layers_before(parameter: Parameter, architecture: SEDenseNetArchitecture) -> int:
    """The number of convolutions, or of norms, before a layer: one in the stem, two a dense layer, one a transition."""
    blocks = architecture.block_config
    match parameter.layer:
        case Layer.STEM_CONVOLUTION | Layer.STEM_NORM:
            return 0
        case Layer.LAST_NORM:
            return 1 + 2 * sum(blocks) + len(blocks) - 1
        case Layer.TRANSITION_CONVOLUTION | Layer.TRANSITION_NORM:
            return 1 + 2 * sum(blocks[: parameter.stage]) + parameter.stage - 1
        case _:
            dense_layers = sum(blocks[: parameter.stage - 1]) + parameter.index
            return 1 + 2 * dense_layers + parameter.stage - 1 + parameter.number - 1


def hidden_config(architecture: SEDenseNetArchitecture) -> Config | None:
    plain = not architecture.has_se and architecture.stem == "7x7"
    return make_densenet_config(epsilon=EPSILON) if plain else None


def imagenet(architecture: SEDenseNetArchitecture) -> Preprocessing:
    return IMAGENET


KERAS_APPLICATIONS_H5 = Dialect(
    "keras-applications-h5",
    "keras.applications.DenseNet in a legacy .h5 file: conv2_block1_0_bn",
    "keras2",
    {"se_densenet": NameTable(h5_place, hidden_config, {"se_places": (), "stem": "7x7"}, imagenet)},
    ends_in_softmax=True,
)
KERAS_APPLICATIONS = Dialect(
    "keras-applications",
    "keras.applications.DenseNet in Keras 3's own files: unnamed layers",
    "keras",
    {"se_densenet": NameTable(place, hidden_config, {"se_places": (), "stem": "7x7"}, imagenet)},
    ends_in_softmax=True,
)
