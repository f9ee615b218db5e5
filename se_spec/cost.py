"""The cost of an architecture: learned parameters from its manifest, multiply-adds from the sizes of its features."""

from math import prod

from se_spec.architecture import Architecture
from se_spec.block import Block
from se_spec.layers import AveragePool, Convolution, MaxPool
from se_spec.manifest import manifest

Sides = tuple[int, int]


def parameter_count(architecture: Architecture) -> int:
    """The number of learned parameters, as the paper and timm count them: without running statistics."""
    return sum(prod(parameter.shape) for parameter in manifest(architecture) if parameter.role.learned)


def multiply_adds(architecture: Architecture, height: int | None = None, width: int | None = None) -> int:
    """Multiply-adds of the network for one image.

    Counted: every convolution and fully connected layer, and for each SE block one addition per value squeezed and
    one multiplication per value scaled (paper, section 4). Norms, biases, ReLUs and pooling are not.

    Args:
        architecture: the network.
        height: height of the image in pixels; by default the size that the papers use.
        width: width of the image in pixels; by default its height.
    """
    height = height or architecture.image_size
    sides = height, width or height
    total = 0
    for convolution in architecture.stem_convolutions:
        sides = _after(convolution, sides)
        total += _cost(convolution, sides)
    sides = _after(architecture.max_pool, sides)
    for block in architecture.blocks():
        total += _block(block, sides)
        for convolution in block.convolutions:
            sides = _after(convolution, sides)
    return total + architecture.num_classes * architecture.features


def _block(block: Block, sides: Sides) -> int:
    total = 0
    branch = sides
    for convolution in block.convolutions:
        branch = _after(convolution, branch)
        total += _cost(convolution, branch)
    if block.has_se:
        total += 2 * block.out_channels * (block.squeezed_channels + prod(branch))
    if block.projection:
        total += _cost(block.projection, _after(block.projection, _after(block.pool, sides)))
    return total


def _after(layer: Convolution | MaxPool | AveragePool | None, sides: Sides) -> Sides:
    return (layer.side(sides[0]), layer.side(sides[1])) if layer else sides


def _cost(convolution: Convolution, sides: Sides) -> int:
    return prod(convolution.shape) * prod(sides)
