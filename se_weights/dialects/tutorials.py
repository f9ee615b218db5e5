"""Code bases that many tutorials copy: classes of ResNets with an SE, written out in one file.

Their keys, from descriptions and sources: kuangliu/pytorch-cifar@49b7aa97b0 (models/resnet.py, preact_resnet.py and
senet.py), miraclewkf/SENet-PyTorch@9e45824e82 (se_resnet.py and se_resnext.py), YichaoCai1/torch_backbones@e3d4850603,
and a CIFAR SE-ResNet that is published in blog posts.
"""

from collections.abc import Callable, Iterable

from se_spec import Layer, Parameter, SEResNetArchitecture
from se_spec.families.se_resnet.graph import CANONICAL_LAYERS
from se_weights.dialects.dialect import Config, Dialect, Layers, NameTable, Place, make_hidden_config
from se_weights.dialects.timm import imagenet
from se_weights.dialects.torch import batch_counter, make_place

BLOCK = "layer{stage}.{index}"
SHORTCUT: Layers = {Layer.PROJECTION: f"{BLOCK}.shortcut.0", Layer.PROJECTION_NORM: f"{BLOCK}.shortcut.1"}
KUANGLIU_LAYERS: Layers = {
    **CANONICAL_LAYERS,
    **SHORTCUT,
    Layer.GATE: f"{BLOCK}.fc{{number}}",
    Layer.CLASSIFIER: "linear",
}
CIFAR_TUTORIAL_LAYERS: Layers = {
    **CANONICAL_LAYERS,
    **SHORTCUT,
    Layer.GATE: (f"{BLOCK}.se.fc.0", f"{BLOCK}.se.fc.2"),
}
MIRACLEWKF_LAYERS: Layers = {**CANONICAL_LAYERS, Layer.GATE: f"{BLOCK}.fc{{number}}"}
SHARED_BLOCK = "conv{next}_x.block_{next}_{index}"
SHARED_LAYERS: Layers = {
    Layer.STEM_CONVOLUTION: "conv1",
    Layer.STEM_NORM: "bn",
    Layer.CONVOLUTION: f"{SHARED_BLOCK}.conv{{number}}",
    Layer.NORM: (f"{SHARED_BLOCK}.bn1", f"{SHARED_BLOCK}.bn1", f"{SHARED_BLOCK}.bn2"),  # the second is the first
    Layer.GATE: (f"{SHARED_BLOCK}.se.compress", f"{SHARED_BLOCK}.se.excitation"),
    Layer.PROJECTION: f"{SHARED_BLOCK}.shortcut.0",
    Layer.PROJECTION_NORM: f"{SHARED_BLOCK}.shortcut.1",
    Layer.CLASSIFIER: "fc",
}
SHARED_BASIC: Layers = {
    **SHARED_LAYERS,
    Layer.NORM: (f"{SHARED_BLOCK}.bn", f"{SHARED_BLOCK}.bn"),
    Layer.PROJECTION: f"{SHARED_BLOCK}.short_cut.0",
    Layer.PROJECTION_NORM: f"{SHARED_BLOCK}.short_cut.1",
}
KUANGLIU_VARIANTS = ("pre-activation", "stem without norm", "shortcut without norm")


def kuangliu_hidden_config(architecture: SEResNetArchitecture) -> Config | None:
    """All have the stem for CIFAR; those before activation have no norm in the shortcuts, nor after the last block."""
    variants = KUANGLIU_VARIANTS if architecture.order == "pre" else ()
    return None if architecture.stem.pools else make_hidden_config(architecture, variants=variants)


def _shared_place(parameter: Parameter, architecture: SEResNetArchitecture) -> Place:
    layers = SHARED_BASIC if architecture.block == "basic" else SHARED_LAYERS
    return make_place(layers, "OI11")(parameter, architecture)


def _hidden_config(*, pools: bool, variants: Iterable[str] = ()) -> Callable[[SEResNetArchitecture], Config | None]:
    """For SE-ResNets with a stem of one convolution, which may have these variants."""

    def hidden_config(architecture: SEResNetArchitecture) -> Config | None:
        known = architecture.se and not architecture.stem.inner and architecture.stem.pools == pools
        return make_hidden_config(architecture, variants=variants) if known else None

    return hidden_config


KUANGLIU_RESNET = NameTable(
    make_place(KUANGLIU_LAYERS, "OI11"),
    kuangliu_hidden_config,
    lambda architecture: {
        "conv_bias": False,
        "shortcut": {"norm": architecture.order == "post"},
        **({"squeeze": {"bias": True, "rounding": "floor", "reduction": 16}} if architecture.se else {}),
    },
)
CIFAR_TUTORIAL = Dialect(
    "cifar-tutorial",
    "a CIFAR SE-ResNet of blog posts: se.fc.0, shortcut.0",
    "torch",
    {"se_resnet": NameTable(make_place(CIFAR_TUTORIAL_LAYERS), _hidden_config(pools=False), {"se": True})},
    batch_counter,
)
MIRACLEWKF = Dialect(
    "miraclewkf",
    "miraclewkf's SENet-PyTorch: fc1 and fc2 in the block",
    "torch",
    {
        "se_resnet": NameTable(
            make_place(MIRACLEWKF_LAYERS),
            _hidden_config(pools=True),
            {"se": True, "conv_bias": False, "squeeze": {"bias": True, "rounding": "floor", "reduction": 16}},
            imagenet,
        )
    },
    batch_counter,
)
TORCH_BACKBONES = Dialect(
    "torch-backbones",
    "YichaoCai1's torch_backbones: conv2_x.block_2_0, one norm for several convolutions",
    "torch",
    {
        "se_resnet": NameTable(
            _shared_place,
            _hidden_config(pools=True, variants=["shared norms"]),
            {
                "se": True,
                "shared_norms": True,
                "squeeze": {"bias": True, "rounding": "floor", "reduction": 16},
                "conv_bias": False,
            },
            imagenet,
        )
    },
    batch_counter,
    ends_in_softmax=True,
)
