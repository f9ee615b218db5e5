"""osmr's pytorchcv (0.0.74), as two dialects: networks whose name ends in `b` stride in the 3x3, the others in the
first 1x1, and no key or shape differs between them. It has pre-activation networks too (`sepreresnet18`).
"""

from collections.abc import Callable

from se_spec import Layer, Parameter, SEDenseNetArchitecture, SEResNetArchitecture
from se_weights.dialects.dialect import (
    Config,
    Dialect,
    Layers,
    NameTable,
    Place,
    make_densenet_config,
    make_hidden_config,
)
from se_weights.dialects.torch import batch_counter, make_place
from se_weights.preprocessing import CIFAR, IMAGENET, Preprocessing

VARIANTS = ("pre-activation", "final norm", "stem without norm", "shortcut without norm")
BLOCK = "features.stage{stage}.unit{unit}"
LAYERS: Layers = {
    Layer.STEM_CONVOLUTION: "features.init_block.conv.conv",
    Layer.STEM_NORM: "features.init_block.conv.bn",
    Layer.CONVOLUTION: f"{BLOCK}.body.conv{{number}}.conv",
    Layer.NORM: f"{BLOCK}.body.conv{{number}}.bn",
    Layer.GATE: f"{BLOCK}.se.conv{{number}}",
    Layer.PROJECTION: f"{BLOCK}.identity_conv.conv",
    Layer.PROJECTION_NORM: f"{BLOCK}.identity_conv.bn",
    Layer.CLASSIFIER: "output",
}
CIFAR_STEM: Layers = {
    Layer.STEM_CONVOLUTION: "features.init_block.conv",
    Layer.STEM_NORM: "features.init_block.bn",
}
PRE_ACTIVATION: Layers = {
    **CIFAR_STEM,
    Layer.PROJECTION: f"{BLOCK}.identity_conv",
    Layer.LAST_NORM: "features.post_activ.bn",
}
STEM_WITHOUT_NORM: Layers = {Layer.STEM_CONVOLUTION: "features.init_block"}
DENSENET_LAYERS: Layers = {
    Layer.STEM_CONVOLUTION: "features.init_block.conv",
    Layer.STEM_NORM: "features.init_block.bn",
    Layer.NORM: "features.stage{stage}.unit{unit}.conv{number}.bn",
    Layer.CONVOLUTION: "features.stage{stage}.unit{unit}.conv{number}.conv",
    Layer.TRANSITION_NORM: "features.stage{next}.trans{next}.conv.bn",
    Layer.TRANSITION_CONVOLUTION: "features.stage{next}.trans{next}.conv.conv",
    Layer.LAST_NORM: "features.post_activ.bn",
    Layer.CLASSIFIER: "output",
}
DEEP_STEM: Layers = {
    Layer.STEM_CONVOLUTION: "features.init_block.conv{number}.conv",
    Layer.STEM_NORM: "features.init_block.conv{number}.bn",
}
SENET: Layers = {**DEEP_STEM, Layer.CLASSIFIER: "output.fc"}
AVERAGING: Layers = {
    **DEEP_STEM,
    Layer.PROJECTION: f"{BLOCK}.identity_block.conv.conv",
    Layer.PROJECTION_NORM: f"{BLOCK}.identity_block.conv.bn",
}


def place(parameter: Parameter, architecture: SEResNetArchitecture) -> Place:
    changed = {} if architecture.stem.pools else CIFAR_STEM
    if architecture.stem.inner:
        changed = AVERAGING if architecture.shortcut.averages else SENET if architecture.se else DEEP_STEM
    if architecture.order == "pre":
        changed = {**PRE_ACTIVATION, **({} if architecture.stem.norm else STEM_WITHOUT_NORM)}
    return make_place({**LAYERS, **changed}, "OI11")(parameter, architecture)


def densenet_place(parameter: Parameter, architecture: SEDenseNetArchitecture) -> Place:
    stem = {} if architecture.max_pool else {Layer.STEM_CONVOLUTION: "features.init_block"}
    return make_place({**DENSENET_LAYERS, **stem})(parameter, architecture)


def densenet_hidden_config(architecture: SEDenseNetArchitecture) -> Config | None:
    known = not architecture.has_se and architecture.stem in ("7x7", "3x3")
    return make_densenet_config() if known else None


def _hidden_config(stride_in: str) -> Callable[[SEResNetArchitecture], Config | None]:
    """CIFAR networks, grouped bottlenecks and those with a deep stem stride in the 3x3 with either name."""

    def hidden_config(architecture: SEResNetArchitecture) -> Config | None:
        deep = bool(architecture.stem.inner)
        convolution = stride_in if architecture.groups == 1 and architecture.stem.pools and not deep else "conv2"
        variants = VARIANTS if architecture.order == "pre" else ()
        averages = deep and not architecture.se and architecture.shortcut.averages
        config = make_hidden_config(
            architecture,
            variants=variants,
            stride_in=convolution,
            dropout=0.2 if deep and architecture.se else 0.0,
            averages=averages,
        )
        dilated = deep and not architecture.se and not averages  # resnetd50b, whose last stages are dilated
        return {**config, "output_stride": 8} if config and dilated else config

    return hidden_config


def fixed_config(architecture: SEResNetArchitecture) -> Config:
    """Pre-activation networks have no norms in their shortcuts."""
    squeeze = {"bias": True, "rounding": "floor", "reduction": 16}
    return {"squeeze": squeeze, "conv_bias": False, "shortcut": {"norm": architecture.order == "post"}}


def _preprocessing(architecture: SEResNetArchitecture | SEDenseNetArchitecture) -> Preprocessing:
    return IMAGENET if architecture.image_size == 224 else CIFAR


def _dialect(name: str, stride_in: str, models: str, **others: NameTable) -> Dialect:
    summary = f"osmr's pytorchcv, {models}"
    hidden_config, names_depend_on = _hidden_config(stride_in), ("shortcut", "se")
    se_resnet = NameTable(place, hidden_config, fixed_config, _preprocessing, names_depend_on=names_depend_on)
    return Dialect(name, summary, "torch", {"se_resnet": se_resnet, **others}, batch_counter)


DENSENET = NameTable(densenet_place, densenet_hidden_config, {"se_places": ()}, _preprocessing)
PYTORCHCV = _dialect(
    "pytorchcv", "conv1", "names without b (seresnet50): stride in the first 1x1", se_densenet=DENSENET
)
PYTORCHCV_B = _dialect("pytorchcv-b", "conv2", "names with b (seresnet50b): stride in the 3x3")
