"""The parts of a graph that the families share: an SE layer, and a convolution with its norm."""

from dataclasses import replace

from se_spec.graph import GraphBuilder, LayerPosition
from se_spec.layers import BatchNorm, Convolution, Dense, MeanOverSpace, ReLU, Role, Scale, Sigmoid
from se_spec.squeeze import SqueezeExcitation


def squeeze_excitation(
    builder: GraphBuilder, path: str, position: LayerPosition, se: SqueezeExcitation | None, x: str
) -> str:
    """x scaled by sigmoid(W2 relu(W1 z)), where z is the spatial mean of x (arXiv 1709.01507, eq. 2-4).

    Args:
        builder: the graph so far.
        path: the canonical path of the SE layer.
        position: that of its first fully connected layer.
        se: its sizes; None for no SE layer.
        x: the path of its input.

    Returns:
        The path of its output; that of its input where there is no SE layer.
    """
    if not se:
        return x
    squeezed = builder.add(f"{path}.squeeze", MeanOverSpace(), x)
    hidden = builder.add_layer(position, Dense(se.channels, se.squeezed, se.bias, Role.GATE), squeezed)
    hidden = builder.add(f"{path}.relu", ReLU(), hidden)
    excited = Dense(se.squeezed, se.channels, se.bias, Role.GATE)
    gate = builder.add_layer(replace(position, number=2), excited, hidden)
    return builder.add(path, Scale(), x, builder.add(f"{path}.gate", Sigmoid(), gate))


def normalised(
    builder: GraphBuilder,
    convolution_position: LayerPosition,
    norm_position: LayerPosition,
    convolution: Convolution,
    epsilon: float,
    x: str,
) -> str:
    """A convolution, and its norm where that is not folded into it.

    Args:
        builder: the graph so far.
        convolution_position: that of the convolution.
        norm_position: that of the norm.
        convolution: the convolution.
        epsilon: of the norm.
        x: the path of the convolution's input.

    Returns:
        The path of the output.
    """
    x = builder.add_layer(convolution_position, convolution, x)
    if convolution.folded:
        return x
    return builder.add_layer(norm_position, BatchNorm(convolution.out_channels, epsilon), x)
