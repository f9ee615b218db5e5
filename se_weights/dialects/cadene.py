"""Cadene's pretrained-models.pytorch (0.7.4) and code that is based on it: timm's legacy `senet.py`, the SE encoders
of segmentation_models_pytorch, and MONAI, which has the same networks under other names.

SE-ResNet-50 to 152 stride in the first 1x1 convolution, as in the authors' Caffe networks; the grouped networks in the
3x3. The max pool of the stem is not padded and rounds up. timm's legacy SE-ResNet-18 and 34 have a ReLU before the
squeeze (timm, pull request 771). Only segmentation_models_pytorch dilates these networks.
"""

from se_spec import Layer, SEDenseNetArchitecture, SEResNetArchitecture
from se_spec.families.se_densenet import graph as se_densenet
from se_spec.families.se_resnet.graph import CANONICAL_LAYERS
from se_weights.dialects.dialect import Config, Dialect, Layers, NameTable, make_densenet_config, make_hidden_config
from se_weights.dialects.timm import imagenet
from se_weights.dialects.torch import batch_counter, make_place

LAYERS: Layers = {
    **CANONICAL_LAYERS,
    Layer.STEM_CONVOLUTION: "layer0.conv{number}",
    Layer.STEM_NORM: "layer0.bn{number}",
    Layer.GATE: "layer{stage}.{index}.se_module.fc{number}",
    Layer.CLASSIFIER: "last_linear",
}
MONAI_LAYERS: Layers = {
    **LAYERS,
    Layer.CONVOLUTION: "layer{stage}.{index}.conv{number}.conv",
    Layer.NORM: "layer{stage}.{index}.conv{number}.adn.N",
    Layer.GATE: ("layer{stage}.{index}.se_layer.fc.0", "layer{stage}.{index}.se_layer.fc.2"),
    Layer.PROJECTION: "layer{stage}.{index}.project.conv",
    Layer.PROJECTION_NORM: "layer{stage}.{index}.project.adn.N",
}
MONAI_DENSENET_LAYERS: Layers = {
    **se_densenet.CANONICAL_LAYERS,
    Layer.NORM: "features.denseblock{stage}.denselayer{unit}.layers.norm{number}",
    Layer.CONVOLUTION: "features.denseblock{stage}.denselayer{unit}.layers.conv{number}",
    Layer.CLASSIFIER: "class_layers.out",
}
FIXED_CONFIG: Config = {"se": True, "squeeze": {"bias": True, "rounding": "floor"}, "conv_bias": False}


def hidden_config(architecture: SEResNetArchitecture) -> Config | None:
    """Of these networks, only SE-ResNet-18 and 34 have basic blocks, and only SENet-154 has dropout."""
    if not architecture.se or not architecture.stem.pools:
        return None
    plain_bottleneck = architecture.block == "bottleneck" and architecture.groups == 1
    return make_hidden_config(
        architecture,
        variants=("dilation",),
        pool="ceil",
        stride_in="conv1" if plain_bottleneck else "conv2",
        after_relu=architecture.block == "basic",
        dropout=0.2 if architecture.stem.inner else 0.0,
        dilates_first=True,
    )


def densenet_hidden_config(architecture: SEDenseNetArchitecture) -> Config | None:
    """MONAI's DenseNets have no SE layers."""
    return None if architecture.has_se or not architecture.max_pool else make_densenet_config()


CADENE = Dialect(
    "cadene",
    "pretrainedmodels, timm's legacy_se*, segmentation_models_pytorch: se_module, last_linear",
    "torch",
    {"se_resnet": NameTable(make_place(LAYERS, "OI11"), hidden_config, FIXED_CONFIG, imagenet)},
    batch_counter,
)
MONAI = Dialect(
    "monai",
    "MONAI: Cadene's networks with the names of MONAI's blocks",
    "torch",
    {
        "se_resnet": NameTable(make_place(MONAI_LAYERS), hidden_config, FIXED_CONFIG, imagenet),
        "se_densenet": NameTable(make_place(MONAI_DENSENET_LAYERS), densenet_hidden_config, {"se_places": ()}),
    },
    batch_counter,
)
