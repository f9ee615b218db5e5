"""Folds batch norms into the convolutions before them, for inference.

With running statistics, a batch norm is a gain and a shift of each channel, gamma / sqrt(variance + epsilon) and
beta - gain x mean (arXiv 1502.03167, section 3.1), which the weight and bias of the convolution can include.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from se_spec import Architecture, Parameter, Role, manifest
from se_spec.layers import NORM_ROLES
from se_spec.manifest import canonical_name
from se_weights.checkpoint import Checkpoint, Weights, all_finite, check
from se_weights.errors import WeightMismatch

FOLDED = "folded"
"""The metadata key that says that the weights are no longer those that were trained."""


def fold_batchnorm(checkpoint: Checkpoint) -> Checkpoint:
    """Fold every batch norm into the convolution before it.

    The folded network computes the same function of images, up to rounding. It is computed in float64 and rounded
    once, to the dtype of each convolution.

    Args:
        checkpoint: The checkpoint, in evaluation mode: its running statistics are used.

    Returns:
        A checkpoint of the architecture with `folded=True`, or the checkpoint itself if it is already folded.

    Raises:
        WeightMismatch: The weights are not those of the architecture, a variance plus epsilon is not positive, or a
            value is not finite before or after folding; lists all of them.
    """
    architecture = checkpoint.architecture
    check("the checkpoint", architecture, checkpoint.weights)
    if architecture.folded:
        return checkpoint
    problems = list(_unfoldable(architecture, checkpoint.weights))
    if problems:
        raise WeightMismatch(f"the batch norms of {architecture.name} cannot be folded", problems)
    folded = architecture.with_folded_norms()
    kept = {parameter.module for parameter in manifest(folded)}
    gains = {
        convolution: _gain_and_shift(convolution, norm, architecture.bn_epsilon, checkpoint.weights)
        for convolution, norm in architecture.graph.foldable_norms.items()
        if norm not in kept
    }
    weights = {
        parameter.name: _folded_array(parameter, checkpoint.weights, *gains[parameter.module])
        if parameter.module in gains
        else checkpoint.weights[parameter.name]
        for parameter in manifest(folded)
    }
    overflowed = [f"! {name} has values that are not finite" for name in weights if not all_finite(weights[name])]
    if overflowed:
        raise WeightMismatch(f"the folded weights of {architecture.name} overflow their dtype", overflowed)
    metadata = {FOLDED: "norms into convolutions"}
    return replace(checkpoint.with_weights(weights, metadata), architecture=folded)


def _unfoldable(architecture: Architecture, weights: Weights) -> Iterator[str]:
    for parameter in manifest(architecture):
        array = np.asarray(weights[parameter.name], np.float64)
        if not all_finite(array):
            yield f"! {parameter.name} has values that are not finite"
        elif parameter.role is Role.VARIANCE and array.min() + architecture.bn_epsilon <= 0:
            lowest = f"{array.min():.3g} + {architecture.bn_epsilon:.3g}"
            yield f"! {parameter.name} + epsilon is {lowest} at its minimum, which is not positive"


def _gain_and_shift(convolution: str, norm: str, epsilon: float, weights: Weights) -> tuple[NDArray, NDArray]:
    """The gain of the norm after a convolution, and the shift that bias and norm add together."""
    gamma, beta, mean, variance = (np.asarray(weights[canonical_name(norm, role)], np.float64) for role in NORM_ROLES)
    gain = gamma / np.sqrt(variance + epsilon)
    bias = weights.get(canonical_name(convolution, Role.CONVOLUTION_BIAS), 0.0)
    return gain, beta + (np.asarray(bias, np.float64) - mean) * gain


def _folded_array(parameter: Parameter, weights: Weights, gain: NDArray, shift: NDArray) -> NDArray:
    """The folded weight or bias of a convolution, in the dtype of its weight."""
    kernel = weights[canonical_name(parameter.module, Role.CONVOLUTION)]
    scaled = np.asarray(kernel, np.float64) * gain[:, None, None, None]
    with np.errstate(over="ignore"):  # overflow is reported by name
        return (scaled if parameter.role is Role.CONVOLUTION else shift).astype(kernel.dtype)
