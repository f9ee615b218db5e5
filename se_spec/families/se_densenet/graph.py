"""The graph of an SE-DenseNet (arXiv 1608.06993, figure 2, with the SE layers of arXiv 1709.01507), and its names."""

from typing import TYPE_CHECKING

from se_spec.families.parts import normalised, squeeze_excitation
from se_spec.families.se_densenet.layers import DenseLayer, Transition
from se_spec.graph import IMAGES, Graph, GraphBuilder, Layer, LayerPaths, LayerPosition
from se_spec.layers import BatchNorm, Concat, Dense, Dropout, MeanOverSpace, ReLU, Role

if TYPE_CHECKING:
    from se_spec.families.se_densenet.architecture import SEDenseNetArchitecture

CANONICAL_LAYERS: LayerPaths = {
    Layer.STEM_CONVOLUTION: "features.conv0",
    Layer.STEM_NORM: "features.norm0",
    Layer.STEM_GATE: "features.se0.fc{number}",
    Layer.BLOCK_GATE: "features.se_block{stage}.fc{number}",
    Layer.INPUT_GATE: "features.denseblock{stage}.denselayer{unit}.se_input.fc{number}",
    Layer.NORM: "features.denseblock{stage}.denselayer{unit}.norm{number}",
    Layer.CONVOLUTION: "features.denseblock{stage}.denselayer{unit}.conv{number}",
    Layer.GATE: "features.denseblock{stage}.denselayer{unit}.se.fc{number}",
    Layer.CONCAT_GATE: "features.denseblock{stage}.denselayer{unit}.se_concat.fc{number}",
    Layer.TRANSITION_GATE: "features.transition{stage}.se.fc{number}",
    Layer.TRANSITION_NORM: "features.transition{stage}.norm",
    Layer.TRANSITION_CONVOLUTION: "features.transition{stage}.conv",
    Layer.LAST_NORM: "features.norm5",
    Layer.LAST_GATE: "features.se5.fc{number}",
    Layer.CLASSIFIER: "classifier",
}
"""The canonical path of each layer, torchvision's; blocks and layers count from 1."""


def se_densenet_graph(architecture: "SEDenseNetArchitecture") -> Graph:
    """The operations of a network, from the images to the logits or, without classes, to the pooled features.

    Args:
        architecture: the network.
    """
    builder = GraphBuilder(CANONICAL_LAYERS)
    x = _stem(builder, architecture)
    for number in range(1, len(architecture.block_config) + 1):
        position = LayerPosition(Layer.BLOCK_GATE, number)
        se = architecture.se_block(number)
        x = squeeze_excitation(builder, f"features.se_block{number}", position, se, x)
        features = [x]
        for layer in architecture.block(number):
            features = _dense_layer(builder, layer, features)
        x = _concatenated(builder, f"features.denseblock{number}", features, architecture.new_first)
        if transition := architecture.transition(number):
            x = _transition(builder, transition, x)
    x = builder.add_layer(LayerPosition(Layer.LAST_NORM), BatchNorm(architecture.features, architecture.bn_epsilon), x)
    x = squeeze_excitation(builder, "features.se5", LayerPosition(Layer.LAST_GATE), architecture.se_last, x)
    if architecture.final_relu:
        x = builder.add("features.relu5", ReLU(), x)
    x = builder.add("pool", MeanOverSpace(), x)
    if architecture.num_classes:
        classifier = Dense(architecture.features, architecture.num_classes, True, Role.CLASSIFIER)
        builder.add_layer(LayerPosition(Layer.CLASSIFIER), classifier, x)
    return builder.graph()


def _stem(builder: GraphBuilder, architecture: "SEDenseNetArchitecture") -> str:
    positions = LayerPosition(Layer.STEM_CONVOLUTION), LayerPosition(Layer.STEM_NORM)
    if architecture.stem_norm:
        x = normalised(builder, *positions, architecture.conv0, architecture.bn_epsilon, IMAGES)
        x = builder.add("features.relu0", ReLU(), x)
    else:
        x = builder.add_layer(positions[0], architecture.conv0, IMAGES)
    if architecture.max_pool:
        x = builder.add("features.pool0", architecture.max_pool, x)
    return squeeze_excitation(builder, "features.se0", LayerPosition(Layer.STEM_GATE), architecture.se_stem, x)


def _dense_layer(builder: GraphBuilder, layer: DenseLayer, features: list[str]) -> list[str]:
    """The features before it and its new ones, which are concatenated where they are taken."""
    place = layer.stage, layer.index
    new = _concatenated(builder, f"{layer.name}.concat", features, layer.new_first)
    new = squeeze_excitation(
        builder, f"{layer.name}.se_input", LayerPosition(Layer.INPUT_GATE, *place), layer.se_input, new
    )
    new = builder.add_layer(LayerPosition(Layer.NORM, *place, 1), BatchNorm(layer.in_channels, layer.epsilon), new)
    new = builder.add(f"{layer.name}.relu1", ReLU(), new)
    positions = LayerPosition(Layer.CONVOLUTION, *place, 1), LayerPosition(Layer.NORM, *place, 2)
    new = normalised(builder, *positions, layer.conv1, layer.epsilon, new)
    new = builder.add(f"{layer.name}.relu2", ReLU(), new)
    new = builder.add_layer(LayerPosition(Layer.CONVOLUTION, *place, 2), layer.conv2, new)
    new = squeeze_excitation(builder, f"{layer.name}.se", LayerPosition(Layer.GATE, *place), layer.se, new)
    if layer.drop_rate:
        new = builder.add(f"{layer.name}.dropout", Dropout(layer.drop_rate), new)
    features = [*features, new]
    if not layer.se_concat:
        return features
    x = _concatenated(builder, f"{layer.name}.concat_new", features, layer.new_first)
    position = LayerPosition(Layer.CONCAT_GATE, *place)
    return [squeeze_excitation(builder, f"{layer.name}.se_concat", position, layer.se_concat, x)]


def _concatenated(builder: GraphBuilder, path: str, features: list[str], new_first: bool) -> str:
    if len(features) == 1:
        return features[0]
    return builder.add(path, Concat(), *(reversed(features) if new_first else features))


def _transition(builder: GraphBuilder, transition: Transition, x: str) -> str:
    """A 1x1 convolution, and a pool that halves height and width."""
    place, name = (transition.stage,), transition.name
    x = squeeze_excitation(builder, f"{name}.se", LayerPosition(Layer.TRANSITION_GATE, *place), transition.se, x)
    norm = BatchNorm(transition.in_channels, transition.epsilon)
    x = builder.add_layer(LayerPosition(Layer.TRANSITION_NORM, *place), norm, x)
    x = builder.add(f"{name}.relu", ReLU(), x)
    x = builder.add_layer(LayerPosition(Layer.TRANSITION_CONVOLUTION, *place), transition.conv, x)
    return builder.add(name, transition.pool, x)
