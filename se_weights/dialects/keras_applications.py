"""The DenseNets of keras.applications (keras 3.15): a legacy `.h5` names their layers, Keras 3's own files do not.

Their epsilon is 1.001e-5, and their last layer a softmax: the logits are what the dense layer computes before it.
"""

from functools import cache

from se_spec import Layer, Parameter, SEDenseNetArchitecture, manifest
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
CLASSES = {"conv": "conv2d", "norm": "batch_normalization", "dense": "dense"}


def h5_place(parameter: Parameter, architecture: SEDenseNetArchitecture) -> Place:
    leaf, axes = LEAF_NAMES[parameter.role]
    if parameter.layer not in LAYERS:
        return Place(("no such layer",), axes)
    return Place((f"{parameter.path(LAYERS)}/{leaf}",), axes)


def place(parameter: Parameter, architecture: SEDenseNetArchitecture) -> Place:
    leaf, axes = LEAF_NAMES[parameter.role]
    path = _counted_paths(architecture).get(parameter.module, "no such layer")
    return Place((f"layers/{path}/vars/{VARIABLE_INDEX[leaf]}",), axes)


@cache
def _counted_paths(architecture: SEDenseNetArchitecture) -> dict[str, str]:
    """The class and the counter of the Keras layer that is each of our layers, counted in the order of the layers."""
    counts: dict[str, int] = {}
    paths: dict[str, str] = {}
    for parameter in manifest(architecture):
        if parameter.module not in paths:
            kind = "dense" if parameter.layer is Layer.CLASSIFIER else "conv" if "conv" in parameter.module else "norm"
            number = counts.setdefault(kind, 0)
            counts[kind] += 1
            paths[parameter.module] = f"{CLASSES[kind]}_{number}" if number else CLASSES[kind]
    return paths


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
)
KERAS_APPLICATIONS = Dialect(
    "keras-applications",
    "keras.applications.DenseNet in Keras 3's own files: unnamed layers",
    "keras",
    {"se_densenet": NameTable(place, hidden_config, {"se_places": (), "stem": "7x7"}, imagenet)},
)
