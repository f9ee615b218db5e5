"""timm's `resnet.py` (1.0.31): torchvision's names, with the SE as biased 1x1 convolutions.

timm rounds the squeezed width to a multiple of 8; that is read from the shapes, as every width is.
"""

from dataclasses import replace

from se_spec import Architecture, Parameter, Role
from se_weights.dialects import torch
from se_weights.dialects.dialect import Dialect, Place


def place(parameter: Parameter, architecture: Architecture) -> Place:
    canonical = torch.place(parameter, architecture)
    return Place(canonical.name, "OI11") if parameter.role is Role.GATE else canonical


def refuses(architecture: Architecture) -> str | None:
    """timm's SE always has biases, and its squeezed width is always C / 16, rounded."""
    if not architecture.se:
        return None
    if not architecture.se_bias:
        return "timm's SE has biases, and this architecture has none"
    rounded = replace(architecture, reduction=16, squeeze="round8")
    if list(rounded.blocks()) != list(architecture.blocks()):
        return "timm's squeezed width is C / 16, rounded to a multiple of 8, and this architecture's is not"
    return None


TIMM = Dialect(
    "timm", "timm resnet.py: torchvision's names, SE as 1x1 convolutions", place, torch.batch_counter, refuses
)
