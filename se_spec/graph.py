"""Graph: a network as operations in the order in which they run. What walks a network is derived from it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from se_spec.layers import BatchNorm, Convolution, Dropout, Operation, Scale, Shape

IMAGES = "images"
"""The input of every graph."""


class Layer(StrEnum):
    """The kinds of layers with parameters. A dialect has one path for each kind."""

    STEM_CONVOLUTION = "stem convolution"
    INPUT_NORM = "norm of the images"
    STEM_NORM = "stem norm"
    CONVOLUTION = "convolution"
    NORM = "norm"
    GATE = "gate"
    CHANNEL_GATE = "gate over channels"
    STEM_GATE = "gate after the stem"
    BLOCK_GATE = "gate before a block"
    INPUT_GATE = "gate of a layer's input"
    CONCAT_GATE = "gate after a concatenation"
    TRANSITION_GATE = "gate before a transition"
    LAST_GATE = "gate after the last norm"
    PROJECTION = "projection"
    PROJECTION_NORM = "projection norm"
    TRANSITION_CONVOLUTION = "transition convolution"
    TRANSITION_NORM = "transition norm"
    LAST_NORM = "last norm"
    CLASSIFIER = "classifier"


NO_LAYER = "no such layer"
"""The path of a layer for which a name table has none; a file of a network with the layer then lacks it."""

LayerPaths = Mapping[Layer, str | tuple[str, ...]]
"""A pattern for the path of each kind of layer, or one pattern for each number; `{stage}`, `{index}` and `{number}` are
those of a LayerPosition, `{unit}` is the index counted from 1, `{before}` and `{next}` are the stages next to its own.
"""


@dataclass(frozen=True)
class LayerPosition:
    """Which layer of its network a layer with parameters is.

    Attributes:
        layer: its kind.
        stage: number of its stage from 1; 0 outside the stages.
        index: number of its block in the stage, from 0.
        number: number of the layer among those of its kind in a block, or in the stem, from 1.
    """

    layer: Layer
    stage: int = 0
    index: int = 0
    number: int = 1

    def path(self, layers: LayerPaths) -> str:
        """The path of the layer in a name table.

        Args:
            layers: the patterns of the paths; without one for this kind of layer, the path is NO_LAYER.
        """
        pattern = layers.get(self.layer, NO_LAYER)
        if not isinstance(pattern, str):
            pattern = pattern[self.number - 1] if self.number <= len(pattern) else NO_LAYER
        return pattern.format(
            stage=self.stage,
            before=self.stage - 1,
            next=self.stage + 1,
            index=self.index,
            unit=self.index + 1,
            number=self.number,
        )


@dataclass(frozen=True)
class Node:
    """One operation in a graph.

    Attributes:
        path: its canonical path, such as "layer1.0.conv2"; that of the models' attribute where it has parameters.
        operation: what it computes.
        inputs: the paths of the operations whose outputs it takes, or IMAGES.
        position: which layer it is, where it has parameters of its own.
        shared: the path of the layer whose parameters it uses, where they are not its own.
    """

    path: str
    operation: Operation
    inputs: tuple[str, ...]
    position: LayerPosition | None = None
    shared: str = ""

    @property
    def layer(self) -> str:
        """The path of the layer whose parameters it uses: its own, or that of a shared one."""
        return self.shared or self.path


@dataclass(frozen=True)
class Graph:
    """The operations of a network.

    Attributes:
        nodes: every operation, after those whose outputs it takes; the last one gives the network's output.
    """

    nodes: tuple[Node, ...]

    @property
    def output(self) -> str:
        """The path of the operation that gives the network's output in evaluation mode."""
        return next(node.path for node in reversed(self.nodes) if not isinstance(node.operation, Dropout))

    @property
    def foldable_norms(self) -> dict[str, str]:
        """The batch norm after each convolution whose output only this norm takes, which can therefore be folded.

        A shared norm comes after several convolutions, and can be folded into each of them.
        """
        operations = {node.path: node.operation for node in self.nodes}
        uses = Counter(path for node in self.nodes for path in node.inputs)
        return {
            path: node.layer
            for node in self.nodes
            if isinstance(node.operation, BatchNorm)
            for path in node.inputs
            if isinstance(operations.get(path), Convolution) and uses[path] == 1
        }

    @property
    def gates(self) -> list[tuple[str, str, str]]:
        """For each SE layer, its path, that of its gates, and that of the layer whose output the sigmoid takes."""
        inputs = {node.path: node.inputs[0] for node in self.nodes}
        scales = [node for node in self.nodes if isinstance(node.operation, Scale)]
        return [(node.path, node.inputs[1], inputs[node.inputs[1]]) for node in scales]

    @property
    def module_inputs(self) -> dict[str, str]:
        """What each module takes: for the path of a block, such as "layer1.0", that of the output it is applied to.

        A module consists of the operations whose paths begin with its own, which is that of its output.
        """
        inputs: dict[str, str] = {}
        for node in self.nodes:
            names = node.path.split(".")
            modules = [".".join(names[:length]) for length in range(1, len(names))]
            for module, path in product(modules, node.inputs):
                if not path.startswith(f"{module}."):
                    inputs[module] = path
        return {node.path: inputs[node.path] for node in self.nodes if node.path in inputs}

    def shapes(self, images: Shape) -> dict[str, Shape]:
        """The shape of every operation's output for one image, by path, and that of the image itself.

        Args:
            images: (C, H, W) of the image.
        """
        shapes = {IMAGES: images}
        for node, inputs in self.with_inputs(shapes):
            shapes[node.path] = node.operation.output(*inputs)
        return shapes

    def with_inputs(self, shapes: Mapping[str, Shape]) -> Iterator[tuple[Node, tuple[Shape, ...]]]:
        """Every node with the shapes of its inputs.

        Args:
            shapes: the shape of every output by path; a node's own may be added when the node is reached.
        """
        for node in self.nodes:
            yield node, tuple([shapes[path] for path in node.inputs])


class GraphBuilder:
    """Collects the nodes of a graph.

    Args:
        layers: the canonical path of each kind of layer with parameters.
    """

    def __init__(self, layers: LayerPaths) -> None:
        self.layers = layers
        self.nodes: list[Node] = []

    def add(self, path: str, operation: Operation, *inputs: str) -> str:
        """Add an operation without parameters.

        Args:
            path: its canonical path.
            operation: what it computes.
            *inputs: the paths of the operations whose outputs it takes, or IMAGES.

        Returns:
            The path.
        """
        self.nodes.append(Node(path, operation, inputs))
        return path

    def add_layer(
        self, position: LayerPosition, operation: Operation, *inputs: str, shared: LayerPosition | None = None
    ) -> str:
        """Add an operation with parameters.

        Args:
            position: which layer it is.
            operation: what it computes.
            *inputs: the paths of the operations whose outputs it takes, or IMAGES.
            shared: the layer before it whose parameters it uses; by default it has its own.

        Returns:
            Its canonical path.
        """
        path = position.path(self.layers)
        if shared:
            self.nodes.append(Node(path, operation, inputs, shared=shared.path(self.layers)))
        else:
            self.nodes.append(Node(path, operation, inputs, position))
        return path

    def graph(self) -> Graph:
        """The graph of the nodes so far."""
        return Graph(tuple(self.nodes))
