"""The graph of an SE-ResNet (arXiv 1709.01507, figure 3, over arXiv 1512.03385), and its canonical names."""

from typing import TYPE_CHECKING

from se_spec.families.parts import normalised, squeeze_excitation
from se_spec.families.se_resnet.block import Block
from se_spec.graph import IMAGES, Graph, GraphBuilder, Layer, LayerPaths, LayerPosition
from se_spec.layers import Add, BatchNorm, Dense, Dropout, MeanOverSpace, ReLU, Role

if TYPE_CHECKING:
    from se_spec.families.se_resnet.architecture import SEResNetArchitecture


CANONICAL_LAYERS: LayerPaths = {
    Layer.INPUT_NORM: "bn0",
    Layer.STEM_CONVOLUTION: "conv{number}",
    Layer.STEM_NORM: "bn{number}",
    Layer.CONVOLUTION: "layer{stage}.{index}.conv{number}",
    Layer.NORM: "layer{stage}.{index}.bn{number}",
    Layer.GATE: "layer{stage}.{index}.se.fc{number}",
    Layer.CHANNEL_GATE: "layer{stage}.{index}.se.conv",
    Layer.PROJECTION: "layer{stage}.{index}.downsample.0",
    Layer.PROJECTION_NORM: "layer{stage}.{index}.downsample.1",
    Layer.LAST_NORM: "norm",
    Layer.CLASSIFIER: "fc",
}
"""The canonical path of each layer; stages and numbers count from 1, the indices of blocks from 0."""


def se_resnet_graph(architecture: "SEResNetArchitecture") -> Graph:
    """The operations of a network, from the images to the logits or, without classes, to the pooled features.

    Args:
        architecture: the network.
    """
    builder = GraphBuilder(CANONICAL_LAYERS)
    epsilon = architecture.bn_epsilon
    x = IMAGES
    if architecture.bn0:
        x = builder.add_layer(LayerPosition(Layer.INPUT_NORM), architecture.bn0, x)
    for number, convolution in enumerate(architecture.stem_convolutions, start=1):
        position = LayerPosition(Layer.STEM_CONVOLUTION, number=number), LayerPosition(Layer.STEM_NORM, number=number)
        if architecture.stem.norm:
            x = builder.add(f"relu{number}", ReLU(), normalised(builder, *position, convolution, epsilon, x))
        else:
            x = builder.add_layer(position[0], convolution, x)
    if architecture.max_pool:
        x = builder.add("maxpool", architecture.max_pool, x)
    if architecture.aa:
        x = builder.add("aa", architecture.aa, x)
    for block in architecture.blocks():
        x = _block(builder, block, x) if block.order == "post" else _preactivated_block(builder, block, x)
    if architecture.norm:
        x = builder.add_layer(LayerPosition(Layer.LAST_NORM), architecture.norm, x)
        x = builder.add("relu", ReLU(), x)
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
        if block.aa and number == len(block.convolutions):  # the 3x3 that would stride is the one before the last
            residual = builder.add(f"{block.name}.aa", block.aa, residual)
        position = LayerPosition(Layer.CONVOLUTION, *place, number), LayerPosition(Layer.NORM, *place, number)
        shared = LayerPosition(Layer.NORM, *place) if block.shared_norm and number == 2 else None
        residual = normalised(builder, *position, convolution, block.epsilon, residual, shared)
    if block.relu_before_se:
        residual = builder.add(f"{block.name}.act", ReLU(), residual)
    residual = squeeze_excitation(builder, f"{block.name}.se", LayerPosition(Layer.GATE, *place), block.se, residual)
    if block.drop_path:
        residual = builder.add(f"{block.name}.drop_path", Dropout(block.drop_path, images=True), residual)
    return builder.add(
        block.name, ReLU(), builder.add(f"{block.name}.add", Add(), residual, _shortcut(builder, block, x))
    )


def _preactivated_block(builder: GraphBuilder, block: Block, x: str) -> str:
    """A block whose norms and ReLUs come before its convolutions (arXiv 1603.05027, figure 4 e)."""
    place = block.stage, block.index
    norm = builder.add_layer(LayerPosition(Layer.NORM, *place), BatchNorm(block.in_channels, block.epsilon), x)
    activated = residual = builder.add(f"{block.name}.relu1", ReLU(), norm)
    for number, convolution in enumerate(block.convolutions, start=1):
        position = LayerPosition(Layer.CONVOLUTION, *place, number), LayerPosition(Layer.NORM, *place, number + 1)
        if number < len(block.convolutions):
            residual = normalised(builder, *position, convolution, block.epsilon, residual)
            residual = builder.add(f"{block.name}.relu{number + 1}", ReLU(), residual)
        else:
            residual = builder.add_layer(position[0], convolution, residual)
    residual = squeeze_excitation(builder, f"{block.name}.se", LayerPosition(Layer.GATE, *place), block.se, residual)
    if block.drop_path:
        residual = builder.add(f"{block.name}.drop_path", Dropout(block.drop_path, images=True), residual)
    shortcut = _shortcut(builder, block, activated) if block.projection else x
    return builder.add(block.name, Add(), residual, shortcut)


def _shortcut(builder: GraphBuilder, block: Block, x: str) -> str:
    """The projection of a block's input; the input itself where it fits the sum."""
    place = block.stage, block.index
    if block.pool:
        x = builder.add(f"{block.name}.pool", block.pool, x)
    if block.projection:
        position = LayerPosition(Layer.PROJECTION, *place), LayerPosition(Layer.PROJECTION_NORM, *place)
        if block.shortcut_norm:
            x = normalised(builder, *position, block.projection, block.epsilon, x)
        else:
            x = builder.add_layer(position[0], block.projection, x)
    return x
