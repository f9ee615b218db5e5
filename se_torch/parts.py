"""Checks that a model still consists of the parts of its architecture: users replace layers of PyTorch models."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import se_weights
from se_torch.se_resnet import SEResNet
from se_weights.reading.wrappers import INSERTED_MODULES


def unwrapped(path: str) -> str:
    """The path of a module or tensor without those that torch.compile and activation checkpointing put around others.

    Args:
        path: a path as of `named_modules()` or `state_dict()`.
    """
    return ".".join(name for name in path.split(".") if name not in INSERTED_MODULES)


def check_parts(model: SEResNet) -> None:
    """Check that every part is of the class, and has the settings, that the architecture describes.

    Args:
        model: the model to check.

    Raises:
        se_weights.WeightMismatch: a line for each part that is missing, unexpected or another one.
    """
    with torch.device("meta"):
        expected = dict(SEResNet(model.architecture).named_modules())
    found = {unwrapped(path): module for path, module in model.named_modules()}  # what is wrapped comes last
    missing = [f"- {path}" for path in expected if path not in found]
    unexpected = [f"+ {path}" for path in found if path not in expected]
    changed = [
        f"! {path} expected {_describe(expected[path])}, found {_describe(module)}"
        for path, module in found.items()
        if path in expected and not _same(expected[path], module)
    ]
    if differences := missing + unexpected + changed:
        raise se_weights.WeightMismatch(
            f"parts of the model are not those of {model.architecture.name}; to leave out a head of several layers, "
            "call reset_classifier(0)",
            differences,
        )


def _same(expected: nn.Module, found: nn.Module) -> bool:
    if isinstance(expected, _BatchNorm) and isinstance(found, _BatchNorm):  # SyncBatchNorm, another momentum
        return (expected.num_features, expected.eps) == (found.num_features, found.eps)
    if isinstance(expected, nn.Dropout):  # which computes nothing in evaluation mode
        return True
    return isinstance(found, type(expected)) and expected.extra_repr() == found.extra_repr()


def _describe(module: nn.Module) -> str:
    return f"{type(module).__name__}({module.extra_repr()})"
