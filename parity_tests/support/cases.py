"""Architectures that the tests run on, and networks of them with trained-like weights, which can show a fault."""

import os
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from importlib.util import find_spec

import pytest
from numpy.typing import NDArray

import se_spec
from se_parity import Case, Oracle, sample_images, trained_like_weights
from se_parity.judge.limits import logits_limit
from se_parity.judge.matrix import PACKAGES
from se_parity.reference.oracle import Array
from se_spec import Architecture
from se_spec.families.se_densenet.architecture import SE_PLACES
from se_weights import Checkpoint

SMALL = {"depths": (2, 1), "num_classes": 5}
TWO_STAGES = {**SMALL, "widths": (8, 16), "reduction": 4}
"""Sizes small enough to test a setting in every run of the suite."""

THREE_BLOCKS = {
    "block_config": (2, 3, 1),
    "growth_rate": 8,
    "num_init_features": 12,
    "bn_size": 2,
    "num_classes": 5,
    "reduction": 4,
}
"""The same for DenseNets."""

ARCHITECTURES = {
    **{name: {} for name in se_spec.list_architectures()},
    "se_resnet34 of the tutorials": {"stem": "3x3", "num_classes": 10},
    "se_resnet18 with biases": {"se_bias": True, "squeeze": "round8", "num_classes": 7},
    "se_resnet50 of one channel": {"reduction": 8, "in_channels": 1, "num_classes": 2},
    "se_resnet18 of timm's legacy": {**TWO_STAGES, "stem": {"pool": "ceil"}, "squeeze": {"after_relu": True}},
    "se_resnet50 of Cadene": {**TWO_STAGES, "stem": {"pool": "ceil"}, "stride_in": "conv1", "se_bias": True},
    "se_resnet50 of mindcv": {**TWO_STAGES, "stem": {"pool": "same"}, "squeeze": "round8"},
    "se_resnet18 of weiaicunzai": {
        **TWO_STAGES,
        "stem": "3x3",
        "conv_bias": True,
        "squeeze": {"after_relu": True, "bias": True},
    },
    "se_resnet50 with another epsilon": {**TWO_STAGES, "bn_epsilon": 1e-3},
    "se_resnet18 with every shortcut": {**TWO_STAGES, "shortcut": {"where": "blocks"}},
    "se_resnet18 of PaddleClas": {**TWO_STAGES, "shortcut": {"where": "stages", "averages": True}},
    "se_resnext50_32x4d of NVIDIA": {**TWO_STAGES, "groups": 4, "base_width": 16, "squeeze": "constant"},
    "se_resnext26t, small": {**TWO_STAGES, "groups": 4, "base_width": 16},
    "senet154, small": {**TWO_STAGES, "groups": 4, "base_width": 32, "stem": {"width": 24, "inner": (8, 12)}},
    "se_resnetaa50d, small": {**TWO_STAGES, "stem": {"width": 24, "inner": (8, 12)}, "se_bias": True},
    "se_resnetrs50, small": {**TWO_STAGES, "stem": {"width": 24, "inner": (8, 12)}},
    "se_resnetrs50 folded": {**TWO_STAGES, "stem": {"width": 24, "inner": (8, 12)}, "folded": True},
    "ecaresnet50d, small": {**SMALL, "widths": (16, 32), "stem": {"width": 24, "inner": (8, 12)}},
    "se_resnet18 with ECA layers": {**SMALL, "widths": (12, 200), "squeeze": {"gate": "eca", "after_relu": True}},
    "se_preresnet18, small": {**TWO_STAGES, "se_bias": True},
    "se_preresnet50, small": {**TWO_STAGES, "stride_in": "conv1", "conv_bias": True},
    "se_preresnet18 of kuangliu": {**TWO_STAGES, "stem": "3x3", "final_norm": False},
    "se_preresnet18 of qubvel": {**TWO_STAGES, "input_norm": True, "shortcut": {"where": "stages"}, "bn_epsilon": 2e-5},
    "preresnet18 without a norm in the stem": {
        **SMALL,
        "widths": (8, 16),
        "stem": {"kernel": 3, "stride": 1, "pool": "none", "norm": False},
    },
    "se_preresnet50 with norms in the shortcuts": {**TWO_STAGES, "shortcut": {"norm": True, "averages": True}},
    "se_preresnet50 folded": {**TWO_STAGES, "folded": True, "input_norm": True, "conv_bias": True},
    "se_resnet18 of YichaoCai1": {**TWO_STAGES, "shared_norms": True, "se_bias": True},
    "se_resnet50 of YichaoCai1": {**TWO_STAGES, "shared_norms": True, "shortcut": {"where": "blocks"}},
    "se_resnet18 without norms in the shortcuts": {**TWO_STAGES, "shortcut": {"norm": False}, "conv_bias": True},
    "se_resnet18 folded, without norms in the shortcuts": {
        **TWO_STAGES,
        "shortcut": {"norm": False},
        "conv_bias": True,
        "folded": True,
        "input_norm": True,
        "bn_epsilon": 1e-3,
    },
    "se_resnet50 dilated": {**TWO_STAGES, "depths": (1, 1, 2), "widths": (8, 12, 16), "output_stride": 8},
    "se_resnet18 dilated from the first block": {
        **TWO_STAGES,
        "depths": (1, 1, 2),
        "widths": (8, 12, 16),
        "output_stride": 8,
        "dilates_first": True,
    },
    "resnetblur18, small": {**TWO_STAGES, "se": True, "depths": (1, 2)},
    "resnetblur50d folded": {**TWO_STAGES, "stem": {"width": 24, "inner": (8, 12)}, "folded": True},
    "se_resnet18 folded": {**TWO_STAGES, "folded": True, "conv_bias": True, "bn_epsilon": 1e-3},
    "se_resnext50_32x4d folded": {**TWO_STAGES, "folded": True, "groups": 4, "base_width": 16, "se_bias": True},
    "se_resnet50 without a head": {**TWO_STAGES, "num_classes": 0},
    "se_densenet121 of the tutorial": {**THREE_BLOCKS, "small_inputs": True},
    "se_densenet121 with every SE layer": {**THREE_BLOCKS, "se_places": SE_PLACES, "se_bias": True},
    "densenet121 of kuangliu": {**THREE_BLOCKS, "small_inputs": True, "new_first": True},
    "densenet121 of one channel": {**THREE_BLOCKS, "in_channels": 1, "stem": "3x3_norm", "transition_pool": "ceil"},
    "se_densenet121 without a last ReLU": {**THREE_BLOCKS, "final_relu": False, "bn_epsilon": 1e-3, "compression": 0.7},
    "se_densenet121 folded": {**THREE_BLOCKS, "folded": True, "se_places": ("block", "layer"), "new_first": True},
    "densenet121 without a head": {**THREE_BLOCKS, "num_classes": 0, "memory_efficient": True},
}
"""Every named architecture, and others that change each setting from its default."""

RARE_CASES = {
    "se_resnet50 of YichaoCai1",
    "se_resnetrs50 folded",
    "ecaresnet50d, small",
    "se_preresnet18, small",
    "se_resnet18 dilated from the first block",
    "se_preresnet18 of kuangliu",
    "se_preresnet50 with norms in the shortcuts",
    "se_resnet18 without norms in the shortcuts",
    "se_resnet18 folded, without norms in the shortcuts",
}
"""Cases whose settings others of the suite have too."""

DEFAULT_CASES = {
    "se_resnet18",
    "se_resnet50",
    "resnet18",
    "se_resnet20_cifar",
    "se_densenet40_cifar",
    *(name for name in ARCHITECTURES if " " in name and "tutorials" not in name and name not in RARE_CASES),
}
"""Cases in every run of the suite."""

SWEEP_CASES = {
    *RARE_CASES,
    "se_resnet152",
    "se_resnext50_32x4d",
    "senet154",
    "se_resnet152d",
    "wide_resnet50_2",
    "se_resnet110_cifar",
    "se_densenet121",
    "se_resnet34 of the tutorials",
}
"""Cases that `make sweep` adds; `EVERY_ARCHITECTURE=1 make sweep` runs all of ARCHITECTURES, the others narrower."""

THREE_STAGES = {"depths": (1, 2, 1), "widths": (8, 12, 16), "num_classes": 5}
"""Sizes of a network whose channel counts all differ, small enough for the slow modes."""

BATCH, HEIGHT, WIDTH = 2, 64, 49
"""The height is even at every stage, where asymmetric SAME padding differs from symmetric padding; the width is odd."""


def architecture(case: str) -> Architecture:
    return se_spec.architecture(case.split()[0].removesuffix(","), **ARCHITECTURES[case])


@dataclass(frozen=True)
class Network:
    """An architecture with weights, images and the logits that are expected.

    Attributes:
        architecture: The network's architecture.
        weights: Trained-like weights in float32, by canonical name.
        images: Images of shape (N, C, H, W).
        reference: float64 logits of the reference network, of shape (N, classes).
    """

    architecture: Architecture
    weights: dict[str, NDArray]
    images: NDArray
    reference: Array

    @cached_property
    def limit(self) -> float:
        """Largest allowed difference of float32 logits from the reference, as a share of their range."""
        return logits_limit(self.architecture, self.weights, self.images, self.reference)

    @property
    def case(self) -> Case:
        return Case("the case", self.architecture, self.weights, self.images)

    @property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint(self.architecture, self.weights)


def network(architecture: Architecture, batch: int = BATCH, height: int = HEIGHT, width: int = WIDTH) -> Network:
    weights = trained_like_weights(architecture)
    images = sample_images(architecture, batch, height, width)
    reference = Oracle(architecture, weights).logits(images)
    return Network(architecture, weights, images, reference)


@cache
def full_size() -> Network:
    """SE-ResNet-50 with two images of 224x224."""
    return network(se_spec.architecture("se_resnet50"), 2, 224, 224)


@lru_cache(4)
def named_network(case: str) -> Network:
    """The network of a case; those that only EVERY_ARCHITECTURE adds are narrower, which saves most of an hour."""
    described = architecture(case)
    return network(described if case in DEFAULT_CASES | SWEEP_CASES else narrowed(described))


def narrowed(network: Architecture) -> Architecture:
    """A network with the same layers and a quarter of the channels; one with few channels as it is."""
    if network.family == "se_densenet":
        quarters = {name: getattr(network, name) // 4 for name in ("growth_rate", "num_init_features")}
        return network.replace(**quarters, reduction=4)
    widths = network.widths
    return network.replace(widths=tuple(width // 4 for width in widths)) if min(widths) >= 64 else network


@cache
def small_network(block: str = "bottleneck", *, se_bias: bool = False) -> Network:
    name = {"basic": "se_resnet18", "bottleneck": "se_resnet50"}[block]
    return network(se_spec.architecture(name, **THREE_STAGES, se_bias=se_bias, reduction=4))


def skip_without(framework: str) -> pytest.MarkDecorator:
    """Skip a test where a framework is not installed: with one extra alone, the other tests must pass."""
    return pytest.mark.skipif(not find_spec(PACKAGES[framework]), reason=f"{framework} is not installed here")


def each_architecture(*, named_only: bool = False, family: str = "") -> list[object]:
    """Parameters for every case, or for those of a family.

    With `named_only`, the small ones that test a setting run in the sweep only, and those of EVERY_ARCHITECTURE never.
    """
    small = {case for case, config in ARCHITECTURES.items() if {"depths", "block_config"} & config.keys()}
    default = DEFAULT_CASES - small if named_only else DEFAULT_CASES
    marks = {case: [] if case in default else [pytest.mark.sweep] for case in ARCHITECTURES}
    every = os.environ.get("EVERY_ARCHITECTURE") and not named_only
    selected = ARCHITECTURES if every else DEFAULT_CASES | SWEEP_CASES
    cases = [case for case in ARCHITECTURES if case in selected and family in ("", architecture(case).family)]
    return [pytest.param(case, marks=marks[case]) for case in cases]


def each_framework(*frameworks: str) -> list[object]:
    return [pytest.param(framework, marks=skip_without(framework)) for framework in frameworks or PACKAGES]
