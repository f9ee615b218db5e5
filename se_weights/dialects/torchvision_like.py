"""Code bases that put an SE of their own into torchvision's ResNet: its names but for a few, stride in the 3x3, and the
stem's pool padded by one. VGGFace2's port is the exception in both.
"""

from collections.abc import Callable
from typing import Any

from se_spec import Architecture, Layer, Parameter
from se_spec.manifest import CANONICAL_LAYERS
from se_weights.dialects.dialect import Config, Dialect, Layers, Place, hidden_config
from se_weights.dialects.timm import imagenet
from se_weights.dialects.torch import batch_counter, placed
from se_weights.preprocessing import CIFAR, MMPRETRAIN, VGGFACE2, Preprocessing

BLOCK = "layer{stage}.{index}"
SEQUENTIAL: Layers = {**CANONICAL_LAYERS, Layer.GATE: (f"{BLOCK}.se.fc.0", f"{BLOCK}.se.fc.2")}
NVIDIA_LAYERS: Layers = {**CANONICAL_LAYERS, Layer.GATE: (f"{BLOCK}.squeeze.squeeze", f"{BLOCK}.squeeze.expand")}
VGGFACE2_LAYERS: Layers = {**CANONICAL_LAYERS, Layer.GATE: (f"{BLOCK}.conv4", f"{BLOCK}.conv5")}
RESIDUAL: Layers = {
    Layer.STEM_CONVOLUTION: "pre.0",
    Layer.STEM_NORM: "pre.1",
    Layer.CONVOLUTION: tuple(f"stage{{stage}}.{{index}}.residual.{place}" for place in (0, 3, 6)),
    Layer.NORM: tuple(f"stage{{stage}}.{{index}}.residual.{place}" for place in (1, 4, 7)),
    Layer.GATE: ("stage{stage}.{index}.excitation.0", "stage{stage}.{index}.excitation.2"),
    Layer.PROJECTION: "stage{stage}.{index}.shortcut.0",
    Layer.PROJECTION_NORM: "stage{stage}.{index}.shortcut.1",
    Layer.CLASSIFIER: "linear",
}


def _with_se(architecture: Architecture, **config: Any) -> Config | None:
    shallow_stem = not architecture.stem.inner
    return hidden_config(architecture, **config) if architecture.se and shallow_stem else None


def _vggface2(architecture: Architecture) -> Config | None:
    bottleneck = architecture.block == "bottleneck"
    return _with_se(architecture, pool="ceil", stride_in="conv1") if bottleneck else None


def _weiaicunzai(architecture: Architecture) -> Config | None:
    return None if architecture.max_pool else _with_se(architecture, after_relu=True)


def _dialect(
    name: str,
    summary: str,
    place: Callable[[Parameter, Architecture], Place],
    has: Config,
    preprocessing: Callable[[Architecture], Preprocessing | None],
    hidden: Callable[[Architecture], Config | None] = _with_se,
) -> Dialect:
    return Dialect(name, summary, "torch", place, hidden, {"se": True, **has}, batch_counter, preprocessing)


def _mmpretrain(name: str, summary: str, gate: str) -> Dialect:
    """The classifier is no part of the backbone; a file of the backbone alone has lost that prefix on the way."""

    def place(parameter: Parameter, architecture: Architecture) -> Place:
        prefix = "backbone." if architecture.num_classes else ""
        layers = {layer: f"{prefix}{path}" for layer, path in {**CANONICAL_LAYERS, Layer.GATE: gate}.items()}
        return placed({**layers, Layer.CLASSIFIER: "head.fc"}, "OI11")(parameter, architecture)

    has = {"conv_bias": False, "squeeze": {"bias": True}}
    return _dialect(name, summary, place, has, lambda architecture: MMPRETRAIN)


MOSKOMULE = _dialect(
    "moskomule",
    "moskomule's senet.pytorch in all its generations, PytorchInsight: se.fc.0 and se.fc.2",
    placed(SEQUENTIAL),
    {"conv_bias": False},
    lambda architecture: imagenet(architecture) or CIFAR,
)
NVIDIA = _dialect(
    "nvidia",
    "NVIDIA DeepLearningExamples 20.06, SE-ResNeXt-101: squeeze.squeeze, 16 channels in every stage",
    placed(NVIDIA_LAYERS),
    {"conv_bias": False, "squeeze": {"bias": True, "rounding": "constant", "reduction": 16}},
    imagenet,
)
VGGFACE2_PORT = _dialect(
    "vggface2",
    "cydonia999's VGGFace2-pytorch, senet50: conv4 and conv5; BGR",
    placed(VGGFACE2_LAYERS, "OI11"),
    {"conv_bias": False, "squeeze": {"bias": True, "rounding": "floor", "reduction": 16}},
    lambda architecture: VGGFACE2,
    _vggface2,
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
    placed(RESIDUAL),
    {"conv_bias": True, "squeeze": {"bias": True, "rounding": "floor", "reduction": 16}},
    lambda architecture: None,
    _weiaicunzai,
)
