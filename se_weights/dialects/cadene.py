"""Cadene's pretrained-models.pytorch (0.7.4) and what descends from it: timm's legacy `senet.py`, the SE encoders of
segmentation_models_pytorch, and MONAI's copy of the same networks under other names.

SE-ResNet-50 to 152 stride in their first 1x1, as the authors' Caffe networks do; the grouped networks in their 3x3. The
stem's pool has no margins. timm's legacy SE-ResNet-18 and 34 have a ReLU before the squeeze (timm, pull request 771).
"""

from se_spec import Architecture, Layer
from se_spec.manifest import CANONICAL_LAYERS
from se_weights.dialects.dialect import Config, Dialect, Layers, hidden_config
from se_weights.dialects.timm import imagenet
from se_weights.dialects.torch import batch_counter, placed

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
HAS: Config = {"se": True, "squeeze": {"bias": True, "rounding": "floor"}, "conv_bias": False}


def hidden(architecture: Architecture) -> Config | None:
    if not architecture.se or not architecture.max_pool:
        return None
    plain_bottleneck = architecture.block == "bottleneck" and architecture.groups == 1
    return hidden_config(
        architecture,
        pool="ceil",
        stride_in="conv1" if plain_bottleneck else "conv2",
        after_relu=architecture.block == "basic",
        dropout=0.2 if architecture.stem.inner else 0.0,
    )


CADENE = Dialect(
    "cadene",
    "pretrainedmodels, timm's legacy_se*, segmentation_models_pytorch: se_module, last_linear",
    "torch",
    placed(LAYERS, "OI11"),
    hidden,
    HAS,
    batch_counter,
    imagenet,
)
MONAI = Dialect(
    "monai",
    "MONAI: Cadene's networks under the names of its own blocks",
    "torch",
    placed(MONAI_LAYERS),
    hidden,
    HAS,
    batch_counter,
    imagenet,
)
