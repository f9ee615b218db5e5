"""Models for inference: batch norms folded, compiled, in PyTorch."""

from collections.abc import Callable

import torch
from torch import Tensor

import se_weights
from se_torch.se_resnet import SEResNet
from se_torch.weights import load_weights, read_weights


def fold_batchnorm(model: SEResNet) -> SEResNet:
    """A copy for inference whose batch norms are folded into its convolutions; it computes the same function.

    Args:
        model: the model to fold; it is not changed.

    Raises:
        se_weights.WeightMismatch: with every fault, where a norm cannot be folded or a folded value is not finite.
    """
    checkpoint = se_weights.Checkpoint(model.architecture, read_weights(model))
    checkpoint = se_weights.fold_batchnorm(checkpoint)
    folded = SEResNet(checkpoint.architecture).to(model.conv1.weight)
    load_weights(folded, checkpoint.weights)
    return folded.eval()


def optimize_for_inference(model: SEResNet, *, dtype: torch.dtype | None = None) -> Callable[[Tensor], Tensor]:
    """A function from images to logits, for deployment: a folded copy of the model, compiled.

    It compiles at its first call for each shape of images. Images and kernels are in channels_last memory format,
    which oneDNN prefers.

    Args:
        model: the model to deploy; it is not changed.
        dtype: dtype of the computation, such as `torch.bfloat16`; the model's own by default. Images and logits keep
            the dtype that the images have.
    """
    folded = fold_batchnorm(model).to(dtype=dtype, memory_format=torch.channels_last)
    compiled = torch.compile(folded)

    def run(images: Tensor) -> Tensor:
        with torch.inference_mode():
            inputs = images.to(folded.conv1.weight.dtype, memory_format=torch.channels_last)
            return compiled(inputs).to(images.dtype)

    return run
