"""The graph of an SE-ResNet (arXiv 1709.01507, figure 3, over arXiv 1512.03385), and its canonical names."""

from itertools import pairwise
from typing import TYPE_CHECKING

from se_spec.families.se_resnet.block import Block
from se_spec.graph import IMAGES, Graph, GraphBuilder, Layer, LayerPaths, LayerPosition
from se_spec.layers import Add, BatchNorm, Convolution, Dense, Dropout, MeanOverSpace, ReLU, Role, Scale, Sigmoid

if TYPE_CHECKING:
    from se_spec.families.se_resnet.architecture import SEResNetArchitecture


CANONICAL_LAYERS: LayerPaths = {
    Layer.STEM_CONVOLUTION: "conv{number}",
    Layer.STEM_NORM: "bn{number}",
    Layer.CONVOLUTION: "layer{stage}.{index}.conv{number}",
    Layer.NORM: "layer{stage}.{index}.bn{number}",
    Layer.GATE: "layer{stage}.{index}.se.fc{number}",
    Layer.PROJECTION: "layer{stage}.{index}.downsample.0",
    Layer.PROJECTION_NORM: "layer{stage}.{index}.downsample.1",
    Layer.CLASSIFIER: "fc",
}
"""The canonical path of each layer; stages and numbers count from 1, the indices of blocks from 0."""


def se_resnet_graph(architecture: "SEResNetArchitecture") -> Graph:
    """The operations of a network, from the images to the logits or, without classes, to the pooled features.

    Args:
        architecture: the network.
    """
    builder = GraphBuilder(CANONICAL_LAYERS)
    x = IMAGES
    for number, convolution in enumerate(architecture.stem_convolutions, start=1):
        position = LayerPosition(Layer.STEM_CONVOLUTION, number=number), LayerPosition(Layer.STEM_NORM, number=number)
        x = _normalised(builder, *position, convolution, architecture.bn_epsilon, x)
        x = builder.add(f"relu{number}", ReLU(), x)
    if architecture.max_pool:
        x = builder.add("maxpool", architecture.max_pool, x)
    for block in architecture.blocks():
        x = _block(builder, block, x)
    x = builder.add("pool", MeanOverSpace(), x)
    if architecture.dropout:
        x = builder.add("dropout", Dropout(architecture.dropout), x)
    if architecture.num_classes:
        classifier = Dense(architecture.features, architecture.num_classes, True, Role.CLASSIFIER)
        builder.add_layer(LayerPosition(Layer.CLASSIFIER), classifier, x)
    return builder.graph()


def _block(builder: GraphBuilder, block: Block, x: str) -> str:
    """The residual branch, scaled by its gates, plus the shortcut."""
    place = block.stage, block.index
    residual = x
    for number, convolution in enumerate(block.convolutions, start=1):
        if number > 1:
            residual = builder.add(f"{block.name}.relu{number - 1}", ReLU(), residual)
        position = LayerPosition(Layer.CONVOLUTION, *place, number), LayerPosition(Layer.NORM, *place, number)
        residual = _normalised(builder, *position, convolution, block.epsilon, residual)
    if block.relu_before_se:
        residual = builder.add(f"{block.name}.act", ReLU(), residual)
    if block.has_se:
        residual = _squeeze_excitation(builder, block, residual)
    if block.drop_path:
        residual = builder.add(f"{block.name}.drop_path", Dropout(block.drop_path, images=True), residual)
    if block.pool:
        x = builder.add(f"{block.name}.pool", block.pool, x)
    if block.projection:
        position = LayerPosition(Layer.PROJECTION, *place), LayerPosition(Layer.PROJECTION_NORM, *place)
        x = _normalised(builder, *position, block.projection, block.epsilon, x)
    return builder.add(block.name, ReLU(), builder.add(f"{block.name}.add", Add(), residual, x))


def _squeeze_excitation(builder: GraphBuilder, block: Block, x: str) -> str:
    """x scaled by sigmoid(W2 relu(W1 z)), where z is the spatial mean of x (arXiv 1709.01507, eq. 2-4)."""
    path = f"{block.name}.se"
    gate = builder.add(f"{path}.squeeze", MeanOverSpace(), x)
    for number, widths in enumerate(pairwise((block.out_channels, block.squeezed_channels, block.out_channels)), 1):
        if number > 1:
            gate = builder.add(f"{path}.relu", ReLU(), gate)
        position = LayerPosition(Layer.GATE, block.stage, block.index, number)
        gate = builder.add_layer(position, Dense(*widths, block.se_bias, Role.GATE), gate)
    return builder.add(path, Scale(), x, builder.add(f"{path}.gate", Sigmoid(), gate))


def _normalised(
    builder: GraphBuilder,
    convolution_position: LayerPosition,
    norm_position: LayerPosition,
    convolution: Convolution,
    epsilon: float,
    x: str,
) -> str:
    """A convolution, and its norm where that is not folded into it."""
    x = builder.add_layer(convolution_position, convolution, x)
    if convolution.folded:
        return x
    return builder.add_layer(norm_position, BatchNorm(convolution.out_channels, epsilon), x)
