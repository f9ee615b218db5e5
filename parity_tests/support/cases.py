"""What the tests run on: architectures, and networks with weights that can show a fault."""

import os
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

import pytest
from numpy.typing import NDArray

import se_spec
from se_parity import Case, Oracle, sample_images, trained_like_weights
from se_parity.judge.limits import logits_limit
from se_parity.judge.matrix import PACKAGES
from se_parity.reference.oracle import Array
from se_spec import Architecture
from se_weights import Checkpoint

LITTLE = {"depths": (2, 1), "widths": (8, 16), "num_classes": 5, "reduction": 4}
"""Small enough to stand for a fact in every run of the suite."""

ARCHITECTURES = {
    **{name: {} for name in se_spec.list_architectures()},
    "se_resnet34 of the tutorials": {"stem": "3x3", "num_classes": 10},
    "se_resnet18 with biases": {"se_bias": True, "squeeze": "round8", "num_classes": 7},
    "se_resnet50 of one channel": {"reduction": 8, "in_channels": 1, "num_classes": 2},
    "se_resnet18 of timm's legacy": {**LITTLE, "stem": {"pool": "ceil"}, "squeeze": {"after_relu": True}},
    "se_resnet50 of Cadene": {**LITTLE, "stem": {"pool": "ceil"}, "stride_in": "conv1", "se_bias": True},
    "se_resnet50 of mindcv": {**LITTLE, "stem": {"pool": "same"}, "squeeze": "round8"},
    "se_resnet18 of weiaicunzai": {
        **LITTLE,
        "stem": "3x3",
        "conv_bias": True,
        "squeeze": {"after_relu": True, "bias": True},
    },
    "se_resnet50 with another epsilon": {**LITTLE, "bn_epsilon": 1e-3},
    "se_resnet18 with every shortcut": {**LITTLE, "shortcut": {"where": "blocks"}},
    "se_resnet18 of PaddleClas": {**LITTLE, "shortcut": {"where": "stages", "averages": True}},
    "se_resnext50_32x4d of NVIDIA": {**LITTLE, "groups": 4, "base_width": 16, "squeeze": "constant"},
    "se_resnext26t, little": {**LITTLE, "groups": 4, "base_width": 16},
    "senet154, little": {**LITTLE, "groups": 4, "base_width": 32, "stem": {"width": 24, "inner": (8, 12)}},
    "se_resnet18 folded": {**LITTLE, "folded": True, "conv_bias": True, "bn_epsilon": 1e-3},
    "se_resnext50_32x4d folded": {**LITTLE, "folded": True, "groups": 4, "base_width": 16, "se_bias": True},
    "se_resnet50 without a head": {**LITTLE, "num_classes": 0},
}
"""Every named architecture, and others that set each fact away from its default."""

QUICK = {
    "se_resnet18",
    "se_resnet50",
    "resnet18",
    "se_resnet20_cifar",
    *(name for name in ARCHITECTURES if " " in name and "tutorials" not in name),
}
"""Those that every run of the suite takes."""

DEEP = {
    "se_resnet152",
    "se_resnext50_32x4d",
    "senet154",
    "se_resnet152d",
    "wide_resnet50_2",
    "se_resnet110_cifar",
    "se_resnet34 of the tutorials",
}
"""Those that `make sweep` takes beside them; `EVERY_ARCHITECTURE=1 make sweep` takes every one."""

SMALL = {"depths": (1, 2, 1), "widths": (8, 12, 16), "num_classes": 5}
"""A network whose channel counts all differ, small enough for the slow modes."""

BATCH, HEIGHT, WIDTH = 2, 64, 49
"""One side even at every stage and one odd: lopsided padding is the right one wherever a side is odd."""


def architecture(case: str) -> Architecture:
    return se_spec.architecture(case.split()[0].removesuffix(","), **ARCHITECTURES[case])


@dataclass(frozen=True)
class Network:
    """An architecture with trained-like weights, images, the oracle's logits, and how far float32 may be from them."""

    architecture: Architecture
    weights: dict[str, NDArray]
    images: NDArray
    truth: Array
    limit: float

    @property
    def case(self) -> Case:
        return Case("the case", self.architecture, self.weights, self.images)

    @property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint(self.architecture, self.weights)


def network(architecture: Architecture, batch: int = BATCH, height: int = HEIGHT, width: int = WIDTH) -> Network:
    weights = trained_like_weights(architecture)
    images = sample_images(architecture, batch, height, width)
    truth = Oracle(architecture, weights).logits(images)
    return Network(architecture, weights, images, truth, logits_limit(architecture, weights, images, truth))


@cache
def full_size() -> Network:
    """SE-ResNet-50 and two images as ImageNet has them."""
    return network(se_spec.architecture("se_resnet50"), 2, 224, 224)


@cache
def named_network(case: str) -> Network:
    return network(architecture(case))


@cache
def small_network(block: str = "bottleneck", *, se_bias: bool = False) -> Network:
    name = {"basic": "se_resnet18", "bottleneck": "se_resnet50"}[block]
    return network(se_spec.architecture(name, **SMALL, se_bias=se_bias, reduction=4))


def needs(framework: str) -> pytest.MarkDecorator:
    """Skips, with its reason, where a framework is not installed: an extra alone must pass the rest."""
    return pytest.mark.skipif(not find_spec(PACKAGES[framework]), reason=f"{framework} is not installed here")


def each_architecture(*, named_only: bool = False) -> list[object]:
    """Every case; where `named_only`, the sweep alone takes those that stand for a fact."""
    quick = {case for case in QUICK if not named_only or "depths" not in ARCHITECTURES[case]}
    marks = {case: [] if case in quick else [pytest.mark.sweep] for case in ARCHITECTURES}
    taken = ARCHITECTURES if os.environ.get("EVERY_ARCHITECTURE") else QUICK | DEEP
    return [pytest.param(case, marks=marks[case]) for case in ARCHITECTURES if case in taken]


def each_framework(*frameworks: str) -> list[object]:
    return [pytest.param(framework, marks=needs(framework)) for framework in frameworks or PACKAGES]
