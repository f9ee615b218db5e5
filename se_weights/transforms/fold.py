"""A norm folded into the convolution before it, for inference: one layer computes what the two did.

With running statistics a norm is a gain and a shift of each channel, gamma / sqrt(variance + epsilon) and
beta - gain x mean (arXiv 1502.03167, section 3.1), so the convolution can carry both.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from se_spec import BATCH_NORM_EPSILON, Architecture, Layer, Parameter, Role, manifest
from se_weights.checkpoint import Checkpoint, Weights, check
from se_weights.errors import WeightMismatch

FOLDED = "folded"
"""The metadata's word for it: what is in the file is no longer what was trained."""

NORMS = {
    Layer.STEM_CONVOLUTION: Layer.STEM_NORM,
    Layer.CONVOLUTION: Layer.NORM,
    Layer.PROJECTION: Layer.PROJECTION_NORM,
}
"""The norm that follows each layer that is a convolution."""


def fold_batchnorm(checkpoint: Checkpoint) -> Checkpoint:
    """The same function of images with every norm folded into its convolution; a folded checkpoint as it is.

    Worked out in float64 and rounded once, to the type of each kernel. Raises WeightMismatch, with the whole list,
    where a norm divides by no finite positive number, or a folded value is not finite.
    """
    architecture = checkpoint.architecture
    check("the checkpoint", architecture, checkpoint.weights)
    if architecture.folded:
        return checkpoint
    faults = list(_unusable(architecture, checkpoint.weights))
    if faults:
        raise WeightMismatch(f"the norms of {architecture.name} cannot be folded", faults)
    folded = architecture.replace(folded=True, conv_bias=False, bn_epsilon=BATCH_NORM_EPSILON)  # it has neither now
    gains = {
        parameter.module: _gain_and_shift(parameter, architecture, checkpoint.weights)
        for parameter in manifest(architecture)
        if parameter.role is Role.CONVOLUTION
    }
    weights = {
        parameter.name: _folded(parameter, checkpoint.weights, *gains[parameter.module])
        if parameter.module in gains
        else checkpoint.weights[parameter.name]
        for parameter in manifest(folded)
    }
    overflown = [f"! {name} has values that are not finite" for name in weights if not _finite(weights[name])]
    if overflown:
        raise WeightMismatch(f"the weights of {architecture.name} are not finite once they are folded", overflown)
    record = {FOLDED: "norms into convolutions"}
    return replace(checkpoint.with_weights(weights, record), architecture=folded)


def _unusable(architecture: Architecture, weights: Weights) -> Iterator[str]:
    for parameter in manifest(architecture):
        array = np.asarray(weights[parameter.name], np.float64)
        if not _finite(array):
            yield f"! {parameter.name} has values that are not finite"
        elif parameter.role is Role.VARIANCE and array.min() + architecture.bn_epsilon <= 0:
            lowest = f"{array.min():.3g} + {architecture.bn_epsilon:.3g}"
            yield f"! {parameter.name} + epsilon is {lowest} at the least, which has no reciprocal root"


def _gain_and_shift(convolution: Parameter, architecture: Architecture, weights: Weights) -> tuple[NDArray, NDArray]:
    """What the norm after a convolution multiplies each channel by, and what the two together add to it."""
    norm = replace(convolution, layer=NORMS[convolution.layer])
    gamma, beta, mean, variance = (
        np.asarray(weights[replace(norm, role=role).name], np.float64)
        for role in (Role.GAMMA, Role.BETA, Role.MEAN, Role.VARIANCE)
    )
    gain = gamma / np.sqrt(variance + architecture.bn_epsilon)
    bias = weights.get(replace(convolution, role=Role.CONVOLUTION_BIAS).name, 0.0)
    return gain, beta + (np.asarray(bias, np.float64) - mean) * gain


def _folded(parameter: Parameter, weights: Weights, gain: NDArray, shift: NDArray) -> NDArray:
    """The kernel or the bias of a convolution that carries a gain and a shift, in the kernel's type."""
    kernel = weights[replace(parameter, role=Role.CONVOLUTION).name]
    scaled = np.asarray(kernel, np.float64) * gain[:, None, None, None]
    with np.errstate(over="ignore"):  # what overflows is refused, with its name
        return (scaled if parameter.role is Role.CONVOLUTION else shift).astype(kernel.dtype)


def _finite(array: NDArray) -> bool:
    return bool(np.isfinite(np.asarray(array, np.float64)).all())
