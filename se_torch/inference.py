"""The forms in which a model is deployed, in PyTorch."""

from collections.abc import Callable

import torch
from torch import Tensor

import se_weights
from se_torch.se_resnet import SEResNet
from se_torch.weights import load_weights, read_weights


def fold_batchnorm(model: SEResNet) -> SEResNet:
    """A copy for inference whose norms are folded into its convolutions; the same function of images."""
    checkpoint = se_weights.Checkpoint(model.architecture, read_weights(model))
    checkpoint = se_weights.fold_batchnorm(checkpoint)
    folded = SEResNet(checkpoint.architecture).to(model.conv1.weight)
    load_weights(folded, checkpoint.weights)
    return folded.eval()


def optimize_for_inference(model: SEResNet, *, dtype: torch.dtype | None = None) -> Callable[[Tensor], Tensor]:
    """Images to logits, by a copy of the model that is folded and compiled: at its first call for a shape of images.

    Computes in `dtype`, such as torch.bfloat16, where it is given; images and logits keep the type that images have.
    Channels lie last in memory, as oneDNN wants them.
    """
    folded = fold_batchnorm(model).to(dtype=dtype, memory_format=torch.channels_last)
    compiled = torch.compile(folded)

    def run(images: Tensor) -> Tensor:
        with torch.inference_mode():
            given = images.to(folded.conv1.weight.dtype, memory_format=torch.channels_last)
            return compiled(given).to(images.dtype)

    return run
