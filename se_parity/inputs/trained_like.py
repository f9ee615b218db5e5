"""Weights that can show a fault: like those of a trained network, made without training.

Fresh weights hide most conversion faults: their statistics are zeros and ones, which any mix-up leaves in place. A
naive draw of random statistics hides them too, in chaos: they do not fit the signals, and a deep network then turns
float32 rounding into a tenth of its logits' range. So gains are drawn as training leaves them, small on the last norm
of each branch, and the statistics are measured on a batch and then disturbed.
"""

import numpy as np
from numpy.typing import NDArray

from se_parity.reference.oracle import Array, Oracle
from se_spec import Architecture, Parameter, Role, manifest
from se_weights import Checkpoint, fold_batchnorm

VARIANCE_DISTURBANCE = 2.0
"""Running variances are up to this factor from the measured ones, either way."""

MEAN_DISTURBANCE = 0.05
"""Running means are off by this share of the measured standard deviation."""


def trained_like_weights(
    architecture: Architecture, seed: int = 0, *, batch: int = 4, height: int = 64, width: int = 80
) -> dict[str, NDArray[np.float32]]:
    """Canonical float32 weights; the same seed gives the same weights on every machine. Those of a folded network are
    folded: drawn by themselves they would not keep the signals in bounds."""
    if architecture.folded:
        normed = architecture.replace(folded=False)
        whole = trained_like_weights(normed, seed, batch=batch, height=height, width=width)
        return {**fold_batchnorm(Checkpoint(normed, whole)).weights}
    rng = np.random.default_rng(seed)
    last_norms = {f"{block.name}.bn{len(block.convolutions)}" for block in architecture.blocks()}
    weights = {
        parameter.name: _draw(parameter, parameter.module in last_norms, rng) for parameter in manifest(architecture)
    }

    def measured(path: str, x: Array) -> tuple[Array, Array]:
        mean, variance = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
        shift = MEAN_DISTURBANCE * np.sqrt(variance) * rng.normal(size=mean.shape)
        factor = VARIANCE_DISTURBANCE ** rng.uniform(-1, 1, size=mean.shape)
        weights[f"{path}.running_mean"] = mean + shift
        weights[f"{path}.running_var"] = variance * factor
        return mean, variance

    images = sample_images(architecture, batch, height, width, seed)
    Oracle(architecture, weights, statistics=measured).logits(images)
    return {name: array.astype(np.float32) for name, array in weights.items()}


def sample_images(
    architecture: Architecture, batch: int, height: int, width: int, seed: int = 0
) -> NDArray[np.float32]:
    """Images (N, C, H, W) that no flip, swap or shift leaves as they are: noise on slopes that differ by axis."""
    rng = np.random.default_rng([seed, batch, height, width])
    shape = batch, architecture.in_channels, height, width
    slopes = np.linspace(-1, 1, height)[:, None] - 0.5 * np.linspace(-1, 1, width) ** 2
    offsets = rng.normal(0, 0.3, size=(batch, architecture.in_channels, 1, 1))
    return (rng.normal(0, 0.8, size=shape) + slopes + offsets).astype(np.float32)


def _draw(parameter: Parameter, last_norm: bool, rng: np.random.Generator) -> Array:
    shape, fan_in = parameter.shape, int(np.prod(parameter.shape[1:]))
    match parameter.role:
        case Role.CONVOLUTION:
            return rng.normal(0, np.sqrt(2 / fan_in), shape)
        case Role.GAMMA:
            return rng.uniform(0.1, 0.4, shape) if last_norm else rng.uniform(0.5, 1.5, shape)
        case Role.GATE | Role.CLASSIFIER:
            return rng.normal(0, 2 / np.sqrt(fan_in), shape)
        case Role.VARIANCE:
            return np.ones(shape)
        case _:
            return rng.normal(0, 0.2, shape)
