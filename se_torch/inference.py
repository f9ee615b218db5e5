"""Models for inference: batch norms folded, compiled, in PyTorch."""

from typing import Any

import torch
from torch import Tensor

import se_weights
from se_spec import Architecture, expect_floating
from se_torch.families import new_model
from se_torch.network import Network
from se_torch.se_densenet import SEDenseNet
from se_torch.se_resnet import SEResNet
from se_torch.weights import checkpoint_of, load_weights, read_weights


def fold_batchnorm(model: Network) -> Network:
    """A copy for inference whose batch norms are folded into its convolutions; it computes the same function.

    Args:
        model: the model to fold; it is not changed.

    Raises:
        se_weights.WeightMismatch: with every fault, where a norm cannot be folded or a folded value is not finite.
    """
    checkpoint = se_weights.fold_batchnorm(checkpoint_of(model))
    folded = new_model(checkpoint.architecture).to(next(model.parameters()))
    load_weights(folded, checkpoint.weights)
    folded.preprocessing = checkpoint.preprocessing
    return folded.eval()


class InferenceNetwork(Network):
    """A network for deployment: compiled, and taking images of any floating-point dtype.

    It compiles at its first call for each shape of images, and again after a copy or an unpickling. Images and kernels
    are in channels_last memory format, which oneDNN prefers. Logits have the dtype of the images, and no gradients.

    Args:
        architecture: the configuration of the network, whose batch norms are folded.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        self.requires_grad_(False).eval()
        self.compile()

    def forward(self, images: Tensor) -> Tensor:
        expect_floating("the network", images.is_floating_point(), images.dtype)
        inputs = images.to(self.weight_dtype(), memory_format=torch.channels_last)
        return super().forward(inputs).to(images.dtype)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.compile()


class InferenceSEResNet(InferenceNetwork, SEResNet):
    """An SE-ResNet for deployment."""


class InferenceSEDenseNet(InferenceNetwork, SEDenseNet):
    """An SE-DenseNet for deployment."""


DEPLOYED: dict[str, type[InferenceNetwork]] = {"se_resnet": InferenceSEResNet, "se_densenet": InferenceSEDenseNet}
"""The class of each family's networks for deployment."""


def optimize_for_inference(model: Network, *, dtype: torch.dtype | None = None) -> Network:
    """A copy of the model for deployment: folded and compiled.

    Args:
        model: the model to deploy; it is not changed.
        dtype: dtype of the computation, such as `torch.bfloat16`; the model's own by default.

    Returns:
        A network of the class in DEPLOYED.

    Raises:
        se_weights.WeightMismatch: with every fault, where a norm cannot be folded or a folded value is not finite.
    """
    folded = fold_batchnorm(model)
    deployed = DEPLOYED[folded.architecture.family](folded.architecture).to(next(folded.parameters()))
    load_weights(deployed, read_weights(folded))
    deployed.preprocessing = folded.preprocessing
    return deployed.to(dtype=dtype, memory_format=torch.channels_last)
