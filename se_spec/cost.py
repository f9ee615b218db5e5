"""What an architecture costs: parameters and multiply-adds, from the manifest alone."""

from math import prod

from se_spec.architecture import Architecture
from se_spec.manifest import Parameter, Role, manifest

KERNELS = (Role.CONVOLUTION, Role.GATE, Role.CLASSIFIER)


def parameter_count(architecture: Architecture) -> int:
    """Learned parameters, as the paper and timm count them; running statistics are not counted."""
    return sum(prod(parameter.shape) for parameter in manifest(architecture) if parameter.role.learned)


def multiply_adds(architecture: Architecture, height: int | None = None, width: int | None = None) -> int:
    """Multiply-adds of one image of height x width pixels; by default the size that the papers use.

    Counted: every convolution and fully connected layer, and for each SE block one addition per value squeezed and
    one multiplication per value scaled (paper, section 4). Norms, biases, ReLUs and the final pooling are not.
    """
    height = height or architecture.image_size
    width = width or height
    total = 0
    positions = 0
    for parameter in manifest(architecture):
        if parameter.role in KERNELS:
            total += prod(parameter.shape) * _positions(parameter, height, width)
        if parameter.role is Role.CONVOLUTION and ".downsample." not in parameter.module:
            positions = _positions(parameter, height, width)
        if parameter.role is Role.GATE and parameter.module.endswith(".fc2"):
            total += 2 * parameter.shape[0] * positions
    return total


def _positions(parameter: Parameter, height: int, width: int) -> int:
    if not parameter.stride:
        return 1
    return -(-height // parameter.stride) * -(-width // parameter.stride)
