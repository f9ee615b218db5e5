"""Describes the parts that a model consists of: users replace layers of PyTorch models."""

from functools import cache

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import se_weights
from se_spec import Architecture
from se_torch.families import new_model
from se_torch.layers import DropPath
from se_torch.network import Network
from se_weights.reading.wrappers import INSERTED_MODULES


def unwrapped(path: str) -> str:
    """The path of a module or tensor without those that torch.compile and activation checkpointing put around others.

    Args:
        path: a path as of `named_modules()` or `state_dict()`.
    """
    return ".".join(name for name in path.split(".") if name not in INSERTED_MODULES)


def check_parts(model: Network) -> None:
    """Check that every part is of the class, and has the settings, that the architecture describes.

    Args:
        model: the model to check.

    Raises:
        se_weights.WeightMismatch: a line for each part that is missing, unexpected or another one.
    """
    se_weights.check_parts(model.architecture, _expected_parts(model.architecture), _parts(model))


@cache
def _expected_parts(architecture: Architecture) -> dict[str, str]:
    with torch.device("meta"):
        return _parts(new_model(architecture))


def _parts(model: Network) -> dict[str, str]:
    """A description of each part by its path; what is wrapped comes after its wrapper, and replaces it."""
    parts = {unwrapped(path): _describe(module) for path, module in model.named_modules()}
    return {path: part for path, part in parts.items() if path}


def _describe(module: nn.Module) -> str:
    """The class and the settings that change what a module computes in evaluation mode."""
    if isinstance(module, _BatchNorm):  # another momentum, or SyncBatchNorm
        return f"BatchNorm({module.num_features}, eps={module.eps})"
    if type(module) in (nn.Dropout, DropPath, nn.Identity):
        return "Identity()"
    if type(module) is nn.ReLU:  # in place or not
        return "ReLU()"
    constants = ", ".join(f"{name}={getattr(module, name)!r}" for name in getattr(module, "__constants__", ()))
    kind = type(module).__name__.removeprefix("FSDP")  # which fully_shard puts before the name of the class
    return f"{kind}({module.extra_repr()}{constants and '; '}{constants})"
