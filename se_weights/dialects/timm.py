"""timm's `resnet.py` (1.0.31): torchvision's names, with the SE as biased 1x1 convolutions.

The squeezed width is C / 16, or C / 4 in ResNet-RS, rounded to a multiple of 8. A deep stem is one Sequential, and so
is an averaging shortcut, whose pool has the index 0 even where it is the identity because the block does not stride.
"""

from collections.abc import Callable
from functools import cache

from se_spec import Layer, Parameter, SEDenseNetArchitecture, SEResNetArchitecture
from se_spec.families.se_resnet.graph import CANONICAL_LAYERS
from se_weights.dialects.dialect import (
    Config,
    Dialect,
    Layers,
    NameTable,
    Place,
    make_densenet_config,
    make_hidden_config,
)
from se_weights.dialects.torch import batch_counter, canonical_place, make_place
from se_weights.preprocessing import IMAGENET, Preprocessing

VARIANTS = ("eca", "pool convolution", "dilation")
DEEP_STEM: Layers = {
    Layer.STEM_CONVOLUTION: ("conv1.0", "conv1.3", "conv1.6", "maxpool.0"),
    Layer.STEM_NORM: ("conv1.1", "conv1.4", "bn1", "maxpool.1"),
}
AVERAGING: Layers = {
    Layer.PROJECTION: "layer{stage}.{index}.downsample.1",
    Layer.PROJECTION_NORM: "layer{stage}.{index}.downsample.2",
}


def layers(architecture: SEResNetArchitecture) -> Layers:
    """The paths of the layers of an architecture in timm."""
    return _layers(bool(architecture.stem.inner), architecture.shortcut.averages)


def _layers(deep: bool, averages: bool) -> Layers:
    return {**CANONICAL_LAYERS, **(DEEP_STEM if deep else {}), **(AVERAGING if averages else {})}


def place(parameter: Parameter, architecture: SEResNetArchitecture) -> Place:
    return _place(bool(architecture.stem.inner), architecture.shortcut.averages)(parameter, architecture)


@cache
def _place(deep: bool, averages: bool) -> Callable[[Parameter, SEResNetArchitecture], Place]:
    return make_place(_layers(deep, averages), "OI11")


def hidden_config(architecture: SEResNetArchitecture) -> Config | None:
    """timm has no dropout by default. Its names show whether shortcuts average; it has all ANTIALIASES."""
    if len(architecture.stem.inner) not in (0, 2):
        return None
    averages, antialias = architecture.shortcut.averages, architecture.antialias
    return make_hidden_config(architecture, variants=VARIANTS, averages=averages, antialias=antialias)


def fixed_config(architecture: SEResNetArchitecture) -> Config:
    """The SE layers have biases; their ratio is 16, and 4 in ResNet-RS. ECA layers have neither."""
    ratio = 4 if architecture.stem.pool == "convolution" else 16
    se = {"squeeze": {"bias": True, "rounding": "round8", "reduction": ratio}}
    return {"conv_bias": False, **({} if architecture.squeeze.gate == "eca" else se)}


def imagenet(architecture: SEResNetArchitecture | SEDenseNetArchitecture) -> Preprocessing | None:
    """For networks with the ImageNet stem; size, crop and interpolation differ between timm's pretrained tags."""
    return IMAGENET if architecture.image_size == 224 else None


SE_RESNET = NameTable(
    place,
    hidden_config,
    fixed_config,
    imagenet,
    model_name=lambda architecture: architecture.name.replace("se_resnetrs", "resnetrs").replace("se_res", "seres"),
    names_depend_on=("shortcut",),
)
SE_DENSENET = NameTable(
    canonical_place,
    lambda architecture: None if architecture.has_se or not architecture.max_pool else make_densenet_config(),
    {"se_places": (), "stem": "7x7"},
    imagenet,
)
TIMM = Dialect(
    "timm",
    "timm resnet.py: torchvision's names, SE as 1x1 convolutions",
    "torch",
    {"se_resnet": SE_RESNET, "se_densenet": SE_DENSENET},
    batch_counter,
    options_without_tensors="aa_layer, act_layer, global_pool and output_stride",
)
