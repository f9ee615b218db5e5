"""Known faults of a residual block: its layers are right, but connected in another way."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter

from se_spec import Graph, Node
from se_spec.layers import Add, BatchNorm, ReLU, Scale

Changes = Mapping[tuple[str, str], str]
"""For the path of an operation and one of its inputs, the input that it takes instead."""


@dataclass(frozen=True)
class _Block:
    """The paths of the operations that end a block: output = ReLU(sum), sum = residual + shortcut.

    Attributes:
        output: of the ReLU, which is the path of the block.
        sum: of the sum.
        residual: of the residual branch, with its SE layer.
        shortcut: of the shortcut.
        ungated: of the residual branch without its SE layer; the same as `residual` where there is none.
        norm: of the last batch norm of the residual branch; empty where it is folded.
        convolution: of the convolution before that.
    """

    output: str
    sum: str
    residual: str
    shortcut: str
    ungated: str
    norm: str
    convolution: str

    @property
    def has_se(self) -> bool:
        return self.residual != self.ungated

    def moved_gate(self, source: str) -> dict[tuple[str, str], str]:
        """The changes by which the SE layer takes the output of `source`, and the sum the ungated residual branch."""
        squeeze = f"{self.residual}.squeeze"
        return {
            (squeeze, self.ungated): source,
            (self.residual, self.ungated): source,
            (self.sum, self.residual): self.ungated,
        }


def _blocks(graph: Graph) -> Iterator[_Block]:
    nodes = {node.path: node for node in graph.nodes}
    for node in graph.nodes:
        before = nodes.get(node.inputs[0])
        if isinstance(node.operation, ReLU) and before and isinstance(before.operation, Add):
            residual, shortcut = before.inputs
            ungated = nodes[residual].inputs[0] if isinstance(nodes[residual].operation, Scale) else residual
            norm = nodes[ungated].inputs[0] if isinstance(nodes[ungated].operation, ReLU) else ungated
            folded = not isinstance(nodes[norm].operation, BatchNorm)
            yield _Block(
                output=node.path,
                sum=before.path,
                residual=residual,
                shortcut=shortcut,
                ungated=ungated,
                norm="" if folded else norm,
                convolution=norm if folded else nodes[norm].inputs[0],
            )


def _rewired(graph: Graph, changes: Changes, *added: Node) -> Graph:
    """The graph with other inputs and with added nodes, in an order that can be run, without what is not used."""
    nodes = {
        node.path: replace(node, inputs=tuple(changes.get((node.path, path), path) for path in node.inputs))
        for node in graph.nodes
    } | {node.path: node for node in added}
    order = TopologicalSorter({path: node.inputs for path, node in nodes.items()}).static_order()
    used, kept = {graph.nodes[-1].path}, list[Node]()
    for path in reversed([path for path in order if path in nodes]):
        if path in used:
            used |= {*nodes[path].inputs}
            kept.append(nodes[path])
    return Graph(tuple(reversed(kept)))


def no_shortcut(graph: Graph) -> Graph:
    """The output is the residual branch alone."""
    return _rewired(graph, {(block.output, block.sum): block.residual for block in _blocks(graph)})


def relu_before_sum(graph: Graph) -> Graph:
    """A ReLU is applied to the residual branch before the sum."""
    relus = {block: Node(f"{block.output}.fault", ReLU(), (block.residual,)) for block in _blocks(graph)}
    changes = {(block.sum, block.residual): relu.path for block, relu in relus.items()}
    return _rewired(graph, changes, *relus.values())


def gate_after_sum(graph: Graph) -> Graph:
    """The SE gate scales the sum instead of the residual branch."""
    changes: dict[tuple[str, str], str] = {}
    for block in _blocks(graph):
        if block.has_se:
            changes |= {**block.moved_gate(block.sum), (block.output, block.sum): block.residual}
    return _rewired(graph, changes)


def gate_on_shortcut(graph: Graph) -> Graph:
    """The SE gate is computed from the shortcut and scales it, instead of the residual branch."""
    changes: dict[tuple[str, str], str] = {}
    for block in _blocks(graph):
        if block.has_se:
            changes |= {**block.moved_gate(block.shortcut), (block.sum, block.shortcut): block.residual}
    return _rewired(graph, changes)


def gate_before_norm(graph: Graph) -> Graph:
    """The SE gate scales the input of the last batch norm instead of its output."""
    changes: dict[tuple[str, str], str] = {}
    for block in _blocks(graph):
        if block.has_se and block.norm:
            gated = {(block.norm, block.convolution): block.residual}
            changes |= {**block.moved_gate(block.convolution), **gated}
    return _rewired(graph, changes)


def shortcut_before_activation(graph: Graph) -> Graph:
    """The convolution of a shortcut takes the input of a block whose norms come first, and not what its ReLU gives."""
    nodes = {node.path: node for node in graph.nodes}
    changes: dict[tuple[str, str], str] = {}
    for node in graph.nodes:
        for path in node.inputs:
            block = path.removesuffix(".relu1")
            if node.path in (f"{block}.downsample.0", f"{block}.pool") and isinstance(nodes[path].operation, ReLU):
                changes[node.path, path] = nodes[nodes[path].inputs[0]].inputs[0]
    return _rewired(graph, changes)


def shortcut_after_activation(graph: Graph) -> Graph:
    """The shortcut of a block whose norms come first, without a convolution, takes what its first ReLU gives."""
    nodes = {node.path: node for node in graph.nodes}
    changes: dict[tuple[str, str], str] = {}
    for node in graph.nodes:
        relu, norm = nodes.get(f"{node.path}.relu1"), nodes.get(f"{node.path}.bn1")
        if isinstance(node.operation, Add) and relu and norm and norm.inputs[0] in node.inputs:
            changes[node.path, norm.inputs[0]] = relu.path
    return _rewired(graph, changes)


def relu_before_norm(graph: Graph) -> Graph:
    """In each layer of a dense block, the first ReLU is applied before its norm and not after it."""
    nodes = {node.path: node for node in graph.nodes}
    changes: dict[tuple[str, str], str] = {}
    for node in graph.nodes:
        if node.path.endswith(".conv1") and f"{node.path.removesuffix('conv1')}norm1" in nodes:
            norm, relu = nodes[f"{node.path.removesuffix('conv1')}norm1"], nodes[node.inputs[0]]
            source = norm.inputs[0]
            changes |= {(relu.path, norm.path): source, (norm.path, source): relu.path}
            changes |= {(node.path, relu.path): norm.path}
    return _rewired(graph, changes)


@dataclass(frozen=True)
class BlockFault:
    """A fault of every block of a network.

    Attributes:
        name: the name in explanations.
        faulty_graph: returns the graph of the network with the fault, which may be an equal one.
    """

    name: str
    faulty_graph: Callable[[Graph], Graph]


BLOCK_FAULTS = (
    BlockFault("no shortcut", no_shortcut),
    BlockFault("a ReLU before the sum", relu_before_sum),
    BlockFault("the gate after the sum", gate_after_sum),
    BlockFault("the gate on the shortcut", gate_on_shortcut),
    BlockFault("the gate before the last norm", gate_before_norm),
    BlockFault("the convolutions of shortcuts before the activation", shortcut_before_activation),
    BlockFault("shortcuts without a convolution after the activation", shortcut_after_activation),
    BlockFault("the first ReLU of each layer before its norm", relu_before_norm),
)
