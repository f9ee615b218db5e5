"""Code bases of DenseNets: torchvision's files of 2017, gpleiss, a tutorial after gpleiss, kuangliu, zhouyuangan and
ClassyVision. They keep most of torchvision's names; no two put their SE layers in the same places.
"""

from collections.abc import Callable, Collection

from se_spec import Layer, Parameter, SEDenseNetArchitecture
from se_spec.families.se_densenet.graph import CANONICAL_LAYERS
from se_weights.dialects.dialect import Config, Dialect, Layers, NameTable, Place, make_densenet_config
from se_weights.dialects.torch import batch_counter, densenet_preprocessing, make_place
from se_weights.dialects.tutorials import KUANGLIU_RESNET

DENSE_LAYER = "features.denseblock{stage}.denselayer{unit}"
DOTTED: Layers = {
    **CANONICAL_LAYERS,
    Layer.NORM: f"{DENSE_LAYER}.norm.{{number}}",
    Layer.CONVOLUTION: f"{DENSE_LAYER}.conv.{{number}}",
}
GPLEISS_LAYERS: Layers = {**CANONICAL_LAYERS, Layer.LAST_NORM: "features.norm_final"}
TUTORIAL_LAYERS: Layers = {
    **GPLEISS_LAYERS,
    Layer.STEM_CONVOLUTION: "features.0",
    Layer.STEM_NORM: "features.1",
    Layer.GATE: (f"{DENSE_LAYER}.se1.fc.0", f"{DENSE_LAYER}.se1.fc.2"),
}
KUANGLIU_LAYERS: Layers = {
    Layer.STEM_CONVOLUTION: "conv1",
    Layer.STEM_NORM: "bn1",
    Layer.NORM: "dense{stage}.{index}.bn{number}",
    Layer.CONVOLUTION: "dense{stage}.{index}.conv{number}",
    Layer.TRANSITION_NORM: "trans{stage}.bn",
    Layer.TRANSITION_CONVOLUTION: "trans{stage}.conv",
    Layer.LAST_NORM: "bn",
    Layer.CLASSIFIER: "linear",
}
CLASSYVISION_LAYER = "features.block_{before}.block{before}-{index}"
CLASSYVISION_LAYERS: Layers = {
    Layer.STEM_CONVOLUTION: "initial_block.0",
    Layer.STEM_NORM: "initial_block.1",
    Layer.NORM: f"{CLASSYVISION_LAYER}.norm-{{number}}",
    Layer.CONVOLUTION: f"{CLASSYVISION_LAYER}.conv-{{number}}",
    Layer.GATE: (f"{CLASSYVISION_LAYER}.se.excitation.0", f"{CLASSYVISION_LAYER}.se.excitation.2"),
    Layer.TRANSITION_NORM: "features.transition-{before}.pool-norm",
    Layer.TRANSITION_CONVOLUTION: "features.transition-{before}.pool-conv",
    Layer.LAST_NORM: "features.trunk_output.norm-final",
    Layer.CLASSIFIER: "fc",
}
ZHOUYUANGAN_LAYERS: Layers = {
    **CANONICAL_LAYERS,
    Layer.STEM_GATE: ("features.SELayer_0a.fc.0", "features.SELayer_0a.fc.2"),
    Layer.BLOCK_GATE: ("features.SELayer_{stage}a.fc.0", "features.SELayer_{stage}a.fc.2"),
    Layer.INPUT_GATE: (f"{DENSE_LAYER}.selayer.fc.0", f"{DENSE_LAYER}.selayer.fc.2"),
    Layer.TRANSITION_GATE: ("features.SELayer_{stage}b.fc.0", "features.SELayer_{stage}b.fc.2"),
    Layer.LAST_GATE: ("features.SELayer_0b.fc.0", "features.SELayer_0b.fc.2"),
}
IN_TRANSITIONS: Layers = {
    Layer.TRANSITION_GATE: ("features.transition{stage}.selayer.fc.0", "features.transition{stage}.selayer.fc.2"),
}
"""Of `se_densenet_full`, which has no SE layers before its blocks."""

ZHOUYUANGAN_PLACES = (
    *(("input",), ("input", "transition"), ("block", "transition")),
    ("stem", "block", "input", "transition", "last"),
)
"""Of `se_densenet_w_block`, `se_densenet_full`, `se_densenet_full_in_loop` and `se_densenet`."""


def _zhouyuangan_place(parameter: Parameter, architecture: SEDenseNetArchitecture) -> Place:
    full = {} if "block" in architecture.se_places else IN_TRANSITIONS
    return make_place({**ZHOUYUANGAN_LAYERS, **full})(parameter, architecture)


def _hidden_config(
    places: Collection[tuple[str, ...]], stems: Collection[str], new_first: bool = False
) -> Callable[[SEDenseNetArchitecture], Config | None]:
    """The settings that tensors cannot show, for networks with SE layers in these places and these stems."""

    def hidden_config(architecture: SEDenseNetArchitecture) -> Config | None:
        known = architecture.se_places in places and architecture.stem in stems
        return make_densenet_config(new_first=new_first) if known else None

    return hidden_config


def _dialect(name: str, summary: str, table: NameTable, **others: NameTable) -> Dialect:
    return Dialect(name, summary, "torch", {"se_densenet": table, **others}, batch_counter)


TORCHVISION_2017 = _dialect(
    "torchvision-2017",
    "torchvision's DenseNet files of 2017: norm.1 and conv.1 in each layer",
    NameTable(make_place(DOTTED), _hidden_config([()], ["7x7"]), {"se_places": ()}, densenet_preprocessing),
)
GPLEISS = _dialect(
    "gpleiss",
    "gpleiss's efficient_densenet_pytorch: torchvision's names, norm_final",
    NameTable(make_place(GPLEISS_LAYERS), _hidden_config([()], ["7x7", "3x3"]), {"se_places": ()}),
)
DENSENET_TUTORIAL = _dialect(
    "densenet-tutorial",
    "a tutorial's SE-DenseNet after gpleiss: features.0, se1.fc.0, norm_final",
    NameTable(
        make_place(TUTORIAL_LAYERS),
        _hidden_config([("layer",)], ["7x7", "3x3"]),
        {"se_places": ("layer",), "se_bias": False},
    ),
)
KUANGLIU = _dialect(
    "kuangliu",
    "kuangliu's pytorch-cifar: DenseNet, with new features first; ResNet, PreActResNet and SENet18 with shortcut.0",
    NameTable(
        make_place(KUANGLIU_LAYERS), _hidden_config([()], ["3x3"], new_first=True), {"se_places": (), "stem": "3x3"}
    ),
    se_resnet=KUANGLIU_RESNET,
)
ZHOUYUANGAN = _dialect(
    "zhouyuangan",
    "zhouyuangan's SE_DenseNet, all four networks: SELayer_1a, selayer.fc.0",
    NameTable(_zhouyuangan_place, _hidden_config(ZHOUYUANGAN_PLACES, ["7x7"]), {"se_bias": True, "stem": "7x7"}),
)
CLASSYVISION = _dialect(
    "classyvision",
    "ClassyVision's DenseNet: features.block_0.block0-0.norm-1",
    NameTable(
        make_place(CLASSYVISION_LAYERS, "OI11"),
        _hidden_config([(), ("layer",)], ["7x7", "3x3_norm"]),
        {"se_bias": True},
    ),
)
