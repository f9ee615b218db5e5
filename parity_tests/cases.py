"""What the tests run on: architectures, and networks with weights that can show a fault."""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

import pytest
from numpy.typing import NDArray

import se_spec
from se_parity import Oracle, sample_images, trained_like_weights
from se_parity.limits import float32_share
from se_parity.oracle import Array
from se_parity.parity import PACKAGES
from se_spec import Architecture
from se_weights import Checkpoint

ARCHITECTURES = {
    **{name: {} for name in se_spec.list_architectures()},
    "se_resnet34 of the tutorials": {"stem": "3x3", "num_classes": 10},
    "se_resnet18 with biases": {"se_bias": True, "squeeze": "round8", "num_classes": 7},
    "se_resnet50 of one channel": {"reduction": 8, "in_channels": 1, "num_classes": 2},
}
"""Every named architecture, and others that set each fact away from its default."""

QUICK = {
    "se_resnet18",
    "se_resnet50",
    "resnet18",
    "se_resnet20_cifar",
    "se_resnet18 with biases",
    "se_resnet50 of one channel",
}
"""Those that every run of the suite takes; `make sweep` takes the others."""

SMALL = {"depths": (1, 2, 1), "widths": (8, 12, 16), "num_classes": 5}
"""A network whose channel counts all differ, small enough for the slow modes."""

BATCH, HEIGHT, WIDTH = 2, 64, 49
"""One side even at every stage and one odd: lopsided padding is the right one wherever a side is odd."""


def architecture(case: str) -> Architecture:
    return se_spec.architecture(case.split()[0], **ARCHITECTURES[case])


@dataclass(frozen=True)
class Network:
    """An architecture with trained-like weights, images, the oracle's logits, and how far float32 may be from them."""

    architecture: Architecture
    weights: dict[str, NDArray]
    images: NDArray
    truth: Array
    limit: float

    @property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint(self.architecture, self.weights)


def network(architecture: Architecture, batch: int = BATCH, height: int = HEIGHT, width: int = WIDTH) -> Network:
    weights = trained_like_weights(architecture)
    images = sample_images(architecture, batch, height, width)
    truth = Oracle(architecture, weights).logits(images)
    return Network(architecture, weights, images, truth, float32_share(architecture, weights, images, truth))


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


def each_architecture() -> list[object]:
    return [pytest.param(case, marks=[] if case in QUICK else [pytest.mark.sweep]) for case in ARCHITECTURES]


def each_framework(*frameworks: str) -> list[object]:
    return [pytest.param(framework, marks=needs(framework)) for framework in frameworks or PACKAGES]
