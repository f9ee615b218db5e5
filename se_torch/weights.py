"""Weights into and out of a PyTorch model, by canonical name."""

from collections.abc import Iterable, Mapping
from os import PathLike

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import se_weights
from se_spec import Architecture, manifest
from se_torch.se_resnet import SEResNet


def read_weights(model: SEResNet) -> dict[str, NDArray]:
    """Copies of the model's weights by canonical name, on canonical axes."""
    state = model.state_dict()
    return {
        parameter.name: state[parameter.name].numpy(force=True).copy() for parameter in manifest(model.architecture)
    }


def read_gradients(model: SEResNet, gradients: Iterable[Tensor]) -> dict[str, NDArray]:
    """Gradients as the framework gives them for what the model learns, by canonical name, on canonical axes."""
    names = (name for name, _ in model.named_parameters())
    return {name: gradient.numpy(force=True).copy() for name, gradient in zip(names, gradients, strict=True)}


def load_weights(model: SEResNet, weights: Mapping[str, NDArray]) -> None:
    """Copy canonical weights into the model, in its own dtype and on its own device.

    Raises se_weights.WeightMismatch, with the whole list, and changes nothing, unless they are all there and fit.
    """
    se_weights.check("the mapping", model.architecture, weights)
    state = model.state_dict()
    with torch.no_grad():
        for parameter in manifest(model.architecture):
            state[parameter.name].copy_(torch.from_numpy(_native(weights[parameter.name])))


def from_file(
    path: str | PathLike[str], *, dialect: str | None = None, architecture: Architecture | str | None = None
) -> SEResNet:
    """The model in a weights file of any format and dialect, in evaluation mode and in torch's default dtype."""
    checkpoint = se_weights.read(path, dialect=dialect, architecture=architecture)
    model = SEResNet(checkpoint.architecture)
    load_weights(model, checkpoint.weights)
    return model.eval()


def _native(array: NDArray) -> NDArray:
    """torch.from_numpy takes no bfloat16; float32 holds each of its values."""
    native = np.float32 if array.dtype.name == "bfloat16" else array.dtype
    return np.array(array, dtype=native, order="C", copy=True)
