"""Random weights that resemble trained ones, and sample images: inputs on which conversion faults change the logits.

Freshly initialised weights hide most faults: their statistics are zeros and ones, which can be swapped without effect.
Random statistics hide them as well: they do not match the activations, and a deep network then amplifies float32
rounding to a tenth of its logits' range. So gains have the size that training leaves, with small ones in the last norm
of each residual branch, and the statistics are measured on a batch and then perturbed.
"""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from se_parity.reference.oracle import Array, Oracle
from se_spec import Architecture, Graph, Parameter, Role, manifest
from se_spec.layers import Add, BatchNorm
from se_weights import Checkpoint, fold_batchnorm

VARIANCE_PERTURBATION = 2.0
"""Running variances are the measured ones multiplied or divided by up to this factor."""

MEAN_PERTURBATION = 0.05
"""The standard deviation of the error of running means, as a share of the measured standard deviation."""


def trained_like_weights(
    architecture: Architecture, seed: int = 0, *, batch: int = 4, height: int = 64, width: int = 80
) -> dict[str, NDArray[np.float32]]:
    """Draw weights that resemble those of a trained network.

    Weights of a folded architecture are drawn with batch norms and then folded, which keeps activations in range.

    Args:
        architecture: the network.
        seed: the same seed gives the same weights on every machine.
        batch: the number of sample images on which running statistics are measured.
        height: of those images in pixels.
        width: of those images in pixels.

    Returns:
        float32 arrays by canonical name, with canonical axes.
    """
    if architecture.folded:
        unfolded = architecture.replace(folded=False)
        weights = trained_like_weights(unfolded, seed, batch=batch, height=height, width=width)
        return {**fold_batchnorm(Checkpoint(unfolded, weights)).weights}
    rng = np.random.default_rng(seed)
    last_norms = _last_norms(architecture.graph)
    drawn = {
        parameter.name: _draw(parameter, parameter.module in last_norms, rng) for parameter in manifest(architecture)
    }

    uses: dict[str, list[tuple[Array, Array]]] = defaultdict(list)

    def measure(path: str, x: Array) -> tuple[Array, Array]:
        uses[path].append((x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))))
        mean, variance = np.mean(uses[path], axis=0)  # of a shared norm, whose uses have different inputs
        shift = MEAN_PERTURBATION * np.sqrt(variance) * rng.normal(size=mean.shape)
        factor = VARIANCE_PERTURBATION ** rng.uniform(-1, 1, size=mean.shape)
        drawn[f"{path}.running_mean"] = mean + shift
        drawn[f"{path}.running_var"] = variance * factor
        return mean, variance

    images = sample_images(architecture, batch, height, width, seed)
    Oracle(architecture, drawn, statistics=measure).logits(images)
    return {name: array.astype(np.float32) for name, array in drawn.items()}


def sample_images(
    architecture: Architecture, batch: int, height: int, width: int, seed: int = 0
) -> NDArray[np.float32]:
    """Draw images that every flip, transpose or swap of channels changes: noise on another slope along each axis.

    Args:
        architecture: sets the number of channels C.
        batch: the number of images N.
        height: in pixels.
        width: in pixels.
        seed: the same seed and sizes give the same images.

    Returns:
        (N, C, H, W), of about zero mean and unit variance.
    """
    rng = np.random.default_rng([seed, batch, height, width])
    shape = batch, architecture.in_channels, height, width
    slopes = np.linspace(-1, 1, height)[:, None] - 0.5 * np.linspace(-1, 1, width) ** 2
    offsets = rng.normal(0, 0.3, size=(batch, architecture.in_channels, 1, 1))
    return (rng.normal(0, 0.8, size=shape) + slopes + offsets).astype(np.float32)


def _last_norms(graph: Graph) -> set[str]:
    """The last batch norm of each residual branch: the first one on the way back from a sum."""
    nodes = {node.path: node for node in graph.nodes}
    norms = set()
    for node in graph.nodes:
        if isinstance(node.operation, Add):
            before = nodes[node.inputs[0]]
            while not isinstance(before.operation, BatchNorm):
                before = nodes[before.inputs[0]]
            norms.add(before.path)
    return norms


def _draw(parameter: Parameter, last_norm: bool, rng: np.random.Generator) -> Array:
    shape, fan_in = parameter.shape, max(1, int(np.prod(parameter.shape[1:])))  # an empty squeeze has no inputs
    match parameter.role:
        case Role.CONVOLUTION:
            return rng.normal(0, np.sqrt(2 / fan_in), shape)
        case Role.GAMMA:
            return rng.uniform(0.1, 0.4, shape) if last_norm else rng.uniform(0.5, 1.5, shape)
        case Role.GATE | Role.CHANNEL_CONVOLUTION | Role.CLASSIFIER:
            return rng.normal(0, 2 / np.sqrt(fan_in), shape)
        case Role.VARIANCE:
            return np.ones(shape)
        case _:
            return rng.normal(0, 0.2, shape)
