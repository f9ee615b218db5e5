"""The canonical names, as `se_torch` and torchvision's ResNet spell them in a state_dict."""

from se_spec import Architecture, Parameter, Role
from se_spec.manifest import CANONICAL
from se_weights.dialects.dialect import Dialect, Place


def place(parameter: Parameter, architecture: Architecture) -> Place:
    word, axes = CANONICAL[parameter.role]
    return Place(f"{parameter.module}.{word}", axes)


def batch_counter(parameter: Parameter) -> str | None:
    """torch counts the batches that its running statistics have seen; nothing reads it while momentum is fixed."""
    return f"{parameter.module}.num_batches_tracked" if parameter.role is Role.GAMMA else None


TORCH = Dialect("torch", "se_torch and torchvision: canonical names, OIHW", place, batch_counter)
