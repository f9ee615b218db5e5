"""The cost of an architecture: learned parameters and multiply-adds of the operations of its graph."""

from math import prod

from se_spec.architecture import Architecture


def parameter_count(architecture: Architecture) -> int:
    """The number of learned parameters, as the paper and timm count them: without running statistics."""
    nodes = [node for node in architecture.graph.nodes if node.position]
    return sum(prod(shape) for node in nodes for role, shape in node.operation.parameters if role.learned)


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
    graph = architecture.graph
    shapes = graph.shapes((architecture.in_channels, height, width or height))
    return sum(node.operation.multiply_adds(*inputs) for node, inputs in graph.with_inputs(shapes))
