"""The parts of a graph that the families share: an SE or ECA layer, and a convolution with its norm."""

from dataclasses import replace

from se_spec.graph import GraphBuilder, Layer, LayerPosition
from se_spec.layers import (
    BatchNorm,
    ChannelConvolution,
    Convolution,
    Dense,
    MeanOverSpace,
    ReLU,
    Role,
    Scale,
    Sigmoid,
)
from se_spec.squeeze import EfficientChannelAttention, SqueezeExcitation


def squeeze_excitation(
    builder: GraphBuilder,
    path: str,
    position: LayerPosition,
    se: SqueezeExcitation | EfficientChannelAttention | None,
    x: str,
) -> str:
    """x scaled by gates that are computed from z, the spatial mean of x.

    They are sigmoid(W2 relu(W1 z)) in an SE layer (arXiv 1709.01507, eq. 2-4), and in an ECA layer the sigmoid of a
    convolution of z over neighbouring channels (arXiv 1910.03151, eq. 9).

    Args:
        builder: the graph so far.
        path: the canonical path of the layer.
        position: that of the first fully connected layer, if it is an SE layer.
        se: its sizes; None for no such layer.
        x: the path of its input.

    Returns:
        The path of its output; that of its input where there is no such layer.
    """
    if not se:
        return x
    squeezed = builder.add(f"{path}.squeeze", MeanOverSpace(), x)
    if isinstance(se, EfficientChannelAttention):
        position = replace(position, layer=Layer.CHANNEL_GATE)
        excited = builder.add_layer(position, ChannelConvolution(se.kernel), squeezed)
    else:
        hidden = builder.add_layer(position, Dense(se.channels, se.squeezed, se.bias, Role.GATE), squeezed)
        hidden = builder.add(f"{path}.relu", ReLU(), hidden)
        second = Dense(se.squeezed, se.channels, se.bias, Role.GATE)
        excited = builder.add_layer(replace(position, number=2), second, hidden)
    return builder.add(path, Scale(), x, builder.add(f"{path}.gate", Sigmoid(), excited))


def normalised(
    builder: GraphBuilder,
    convolution_position: LayerPosition,
    norm_position: LayerPosition,
    convolution: Convolution,
    epsilon: float,
    x: str,
    shared: LayerPosition | None = None,
) -> str:
    """A convolution, and its norm where that is not folded into it.

    Args:
        builder: the graph so far.
        convolution_position: that of the convolution.
        norm_position: that of the norm.
        convolution: the convolution.
        epsilon: of the norm.
        x: the path of the convolution's input.
        shared: the norm before it whose parameters the norm uses; by default it has its own.

    Returns:
        The path of the output.
    """
    x = builder.add_layer(convolution_position, convolution, x)
    if convolution.folded:
        return x
    return builder.add_layer(norm_position, BatchNorm(convolution.out_channels, epsilon), x, shared=shared)
