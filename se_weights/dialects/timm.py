"""timm's `resnet.py` (1.0.31): torchvision's names, with the SE as biased 1x1 convolutions.

timm rounds the squeezed width to a multiple of 8; that is read from the shapes, as every width is.
"""

from se_spec import Architecture, Parameter, Role

from se_weights.dialects import torch
from se_weights.dialects.dialect import Dialect, Place


def place(parameter: Parameter, architecture: Architecture) -> Place:
    canonical = torch.place(parameter, architecture)
    return Place(canonical.name, "OI11") if parameter.role is Role.GATE else canonical


TIMM = Dialect("timm", "timm resnet.py: torchvision's names, SE as 1x1 convolutions", place, torch.batch_counter)
