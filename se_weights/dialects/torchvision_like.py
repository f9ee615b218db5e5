"""Code bases that add an SE to torchvision's ResNet. They keep most of its names, the stride in the 3x3 and the max
pool that is padded by one pixel; only the port of VGGFace2 differs in the last two.
"""

from collections.abc import Callable
from typing import Any

from se_spec import Layer, Parameter, SEResNetArchitecture
from se_spec.families.se_resnet.graph import CANONICAL_LAYERS
from se_weights.dialects.dialect import Config, Dialect, Layers, NameTable, Place, make_hidden_config
from se_weights.dialects.timm import imagenet
from se_weights.dialects.torch import batch_counter, make_place
from se_weights.preprocessing import CIFAR, MMPRETRAIN, VGGFACE2, Preprocessing

BLOCK = "layer{stage}.{index}"
SEQUENTIAL: Layers = {**CANONICAL_LAYERS, Layer.GATE: (f"{BLOCK}.se.fc.0", f"{BLOCK}.se.fc.2")}
NVIDIA_LAYERS: Layers = {**CANONICAL_LAYERS, Layer.GATE: (f"{BLOCK}.squeeze.squeeze", f"{BLOCK}.squeeze.expand")}
VGGFACE2_LAYERS: Layers = {**CANONICAL_LAYERS, Layer.GATE: (f"{BLOCK}.conv4", f"{BLOCK}.conv5")}
RESIDUAL: Layers = {
    Layer.STEM_CONVOLUTION: "pre.0",
    Layer.STEM_NORM: "pre.1",
    Layer.CONVOLUTION: tuple(f"stage{{stage}}.{{index}}.residual.{number}" for number in (0, 3, 6)),
    Layer.NORM: tuple(f"stage{{stage}}.{{index}}.residual.{number}" for number in (1, 4, 7)),
    Layer.GATE: ("stage{stage}.{index}.excitation.0", "stage{stage}.{index}.excitation.2"),
    Layer.PROJECTION: "stage{stage}.{index}.shortcut.0",
    Layer.PROJECTION_NORM: "stage{stage}.{index}.shortcut.1",
    Layer.CLASSIFIER: "linear",
}


def _se_hidden_config(architecture: SEResNetArchitecture, **config: Any) -> Config | None:
    shallow_stem = not architecture.stem.inner
    return make_hidden_config(architecture, **config) if architecture.se and shallow_stem else None


def _vggface2_hidden_config(architecture: SEResNetArchitecture) -> Config | None:
    bottleneck = architecture.block == "bottleneck"
    return _se_hidden_config(architecture, pool="ceil", stride_in="conv1") if bottleneck else None


def _weiaicunzai_hidden_config(architecture: SEResNetArchitecture) -> Config | None:
    return None if architecture.stem.pools else _se_hidden_config(architecture, after_relu=True)


def _dialect(
    name: str,
    summary: str,
    place: Callable[[Parameter, SEResNetArchitecture], Place],
    fixed_config: Config,
    preprocessing: Callable[[SEResNetArchitecture], Preprocessing | None],
    hidden_config: Callable[[SEResNetArchitecture], Config | None] = _se_hidden_config,
    **table_fields: Any,
) -> Dialect:
    table = NameTable(place, hidden_config, {"se": True, **fixed_config}, preprocessing, **table_fields)
    return Dialect(name, summary, "torch", {"se_resnet": table}, batch_counter)


def _mmpretrain(name: str, summary: str, gate: str) -> Dialect:
    """Files of the backbone alone, without the classifier, do not have the prefix."""

    def place(parameter: Parameter, architecture: SEResNetArchitecture) -> Place:
        prefix = "backbone." if architecture.num_classes else ""
        layers = {layer: f"{prefix}{path}" for layer, path in {**CANONICAL_LAYERS, Layer.GATE: gate}.items()}
        return make_place({**layers, Layer.CLASSIFIER: "head.fc"}, "OI11")(parameter, architecture)

    fixed_config = {"conv_bias": False, "squeeze": {"bias": True}}
    return _dialect(
        name, summary, place, fixed_config, lambda architecture: MMPRETRAIN, names_depend_on=("num_classes",)
    )


MOSKOMULE = _dialect(
    "moskomule",
    "moskomule's senet.pytorch in all its generations, PytorchInsight: se.fc.0 and se.fc.2",
    make_place(SEQUENTIAL),
    {"conv_bias": False},
    lambda architecture: imagenet(architecture) or CIFAR,
)
NVIDIA = _dialect(
    "nvidia",
    "NVIDIA DeepLearningExamples 20.06, SE-ResNeXt-101: squeeze.squeeze, 16 channels in every stage",
    make_place(NVIDIA_LAYERS),
    {"conv_bias": False, "squeeze": {"bias": True, "rounding": "constant", "reduction": 16}},
    imagenet,
)
VGGFACE2_PORT = _dialect(
    "vggface2",
    "cydonia999's VGGFace2-pytorch, senet50: conv4 and conv5; BGR",
    make_place(VGGFACE2_LAYERS, "OI11"),
    {"conv_bias": False, "squeeze": {"bias": True, "rounding": "floor", "reduction": 16}},
    lambda architecture: VGGFACE2,
    _vggface2_hidden_config,
)
MMPRETRAIN_NOW = _mmpretrain(
    "mmpretrain",
    "mmpretrain: backbone., se_layer.conv1.conv, head.fc",
    f"{BLOCK}.se_layer.conv{{number}}.conv",
)
MMPRETRAIN_2020 = _mmpretrain(
    "mmpretrain-2020",
    "mmclassification of July 2020 (mmpretrain, issue 17): backbone., se_layer.conv1, head.fc",
    f"{BLOCK}.se_layer.conv{{number}}",
)
WEIAICUNZAI = _dialect(
    "weiaicunzai",
    "weiaicunzai's pytorch-cifar100: residual.0, excitation.0; biased convolutions, ReLU before the squeeze",
    make_place(RESIDUAL),
    {"conv_bias": True, "squeeze": {"bias": True, "rounding": "floor", "reduction": 16}},
    lambda architecture: None,
    _weiaicunzai_hidden_config,
)
