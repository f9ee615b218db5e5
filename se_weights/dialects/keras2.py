"""Files of Keras 2: qubvel's classification_models (image-classifiers 1.0.0), and tfimm.

qubvel's layers have no names of their own, so a layer is known by its class and by how many of that class were made
before it: in a block the convolutions of the branch, then the shortcut's, then the two of the SE. A grouped convolution
is one layer a group. The reader of `.h5` counts from 0 whatever the session that saved the file had counted.
Its SE-ResNet-18 and 34 are other networks (pre-activation, with a norm on the image) and are none of these.
"""

from collections.abc import Iterator
from functools import cache

from se_spec import Architecture, Layer, Parameter, Role
from se_weights.dialects import timm
from se_weights.dialects.dialect import Config, Dialect, Place, hidden_config
from se_weights.dialects.keras import WORDS
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
"""1e-5 as a float32; written out in image-classifiers' senet.py."""

Key = tuple[Layer, int, int, int]


def qubvel_place(parameter: Parameter, architecture: Architecture) -> Place:
    word, axes = WORDS[parameter.role]
    axes = "11IO" if parameter.role is Role.GATE else axes
    key = parameter.layer, parameter.stage, parameter.index, parameter.number
    numbers = _numbers(architecture).get(key, ())
    return Place(tuple(f"{CLASSES[parameter.layer]}/{number}/{word}" for number in numbers) or ("none",), axes)


@cache
def _numbers(architecture: Architecture) -> dict[Key, tuple[int, ...]]:
    """The numbers of the Keras layers that make up each of ours, among those of their class."""
    counts = dict.fromkeys(CLASSES.values(), 0)
    numbers: dict[Key, tuple[int, ...]] = {}
    for key, layers in _creation_order(architecture):
        kind = CLASSES[key[0]]
        numbers[key] = tuple(range(counts[kind], counts[kind] + layers))
        counts[kind] += layers
    return numbers


def _creation_order(architecture: Architecture) -> Iterator[tuple[Key, int]]:
    """Our layers as qubvel's code makes them, each with the number of Keras layers it is made of."""
    for number, _ in enumerate(architecture.stem_convolutions, start=1):
        yield (Layer.STEM_CONVOLUTION, 0, 0, number), 1
        yield (Layer.STEM_NORM, 0, 0, number), 1
    for block in architecture.blocks():
        for number, convolution in enumerate(block.convolutions, start=1):
            yield (Layer.CONVOLUTION, block.stage, block.index, number), convolution.groups
            yield (Layer.NORM, block.stage, block.index, number), 1
        if block.projection:
            yield (Layer.PROJECTION, block.stage, block.index, 1), 1
            yield (Layer.PROJECTION_NORM, block.stage, block.index, 1), 1
        for number in (1, 2) if block.has_se else ():
            yield (Layer.GATE, block.stage, block.index, number), 1
    yield (Layer.CLASSIFIER, 0, 0, 1), 1


def qubvel_hidden(architecture: Architecture) -> Config | None:
    """Cadene's weights, and so stride in the first 1x1, but with the stem's pool padded by one."""
    if not architecture.se or architecture.block == "basic":
        return None
    stride_in = "conv1" if architecture.groups == 1 else "conv2"
    dropout = 0.2 if architecture.stem.inner else 0.0
    return hidden_config(architecture, stride_in=stride_in, epsilon=QUBVEL_EPSILON, dropout=dropout)


def tfimm_place(parameter: Parameter, architecture: Architecture) -> Place:
    word, axes = WORDS[parameter.role]
    layers = {**timm.layers(architecture), Layer.CLASSIFIER: "remove.fc"}
    path = parameter.path(layers).replace(".", "/")
    return Place((f"{path}/{word}",), "11IO" if parameter.role is Role.GATE else axes)


QUBVEL = Dialect(
    "qubvel",
    "qubvel's classification_models: Keras 2, unnamed layers, one kernel a group",
    "keras2",
    qubvel_place,
    qubvel_hidden,
    {"se": True, "squeeze": {"bias": True, "rounding": "floor"}, "conv_bias": False},
    preprocessing=imagenet,
)
TFIMM = Dialect(
    "tfimm",
    "tfimm: timm's names with slashes, HWIO",
    "keras2",
    tfimm_place,
    timm.hidden,
    timm.TIMM.has,
    preprocessing=imagenet,
)
