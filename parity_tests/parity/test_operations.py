"""Every operation of the reference: its shape, its gradients against finite differences, and torch where it has it."""

from dataclasses import dataclass

import numpy as np
import pytest

from parity_tests.support.tolerances import FINITE_DIFFERENCES, TWO_LIBRARIES
from se_parity.case import Case
from se_parity.reference.backward import Backward
from se_parity.reference.oracle import Oracle
from se_spec import Graph, Node, layers
from se_spec.graph import IMAGES
from se_spec.manifest import canonical_name

RNG = np.random.default_rng(0)
MAPS = 2, 6, 5, 7
"""(N, C, H, W) of the feature maps that operations take; no square of channels, whose shuffle is its own inverse."""


@dataclass(frozen=True)
class OneOperation:
    """Stands for an architecture whose graph is one operation between others."""

    graph: Graph
    bn_epsilon: float = 1e-3


def graph_of(operation: layers.Operation) -> Graph:
    """The operation in the middle of a network, with a dense layer that gives logits."""
    nodes = [Node("scaled", layers.Convolution(6, 6, 1), (IMAGES,))]
    x = "scaled"
    if isinstance(operation, layers.Add | layers.Concat | layers.Scale):
        nodes.append(Node("other", layers.Convolution(6, 6, 1), (IMAGES,)))
    if isinstance(operation, layers.Dense | layers.ChannelConvolution | layers.Softmax):
        nodes.append(Node("mean", layers.MeanOverSpace(), (x,)))
        x = "mean"
    inputs: tuple[str, ...] = (x,)
    if isinstance(operation, layers.Add | layers.Concat):
        inputs = (x, "other")
    if isinstance(operation, layers.Scale):
        nodes.append(Node("gates", layers.MeanOverSpace(), ("other",)))
        inputs = (x, "gates")
    nodes.append(Node("operation", operation, inputs))
    if len(operation.output(*_shapes(nodes, inputs))) == 3:
        nodes.append(Node("pool", layers.MeanOverSpace(), ("operation",)))
    features = Graph(tuple(nodes)).shapes(MAPS[1:])[nodes[-1].path][0]
    dense = layers.Dense(features, 3, True, layers.Role.CLASSIFIER)
    return Graph((*nodes, Node("logits", dense, (nodes[-1].path,))))


def _shapes(nodes, inputs):
    shapes = Graph(tuple(nodes[:-1])).shapes(MAPS[1:])
    return [shapes[path] for path in inputs]


OPERATIONS = [
    layers.Convolution(6, 8, 3, 2, groups=2, bias=True),
    layers.Convolution(6, 3, (3, 2), (1, 2), dilation=(2, 1), padding=(1, 2)),
    layers.BatchNorm(6, 1e-3),
    layers.BatchNorm(6, 1e-3, gamma=False),
    layers.Dense(6, 5, True, layers.Role.GATE),
    *(layers.MaxPool(alignment) for alignment in ("pad1", "ceil", "same")),
    layers.AveragePool(),
    layers.AveragePool(ceil=False),
    layers.AveragePool(3, 2, 1, ceil=False, count_include_pad=True),
    layers.AveragePool(3, 2, 1, ceil=True, count_include_pad=False),
    layers.AveragePool(4, 2, 1, ceil=True, count_include_pad=True),
    layers.BlurPool(),
    layers.MeanOverSpace(),
    layers.MaxOverSpace(),
    layers.ReLU(),
    layers.ReLU6(),
    layers.Sigmoid(),
    layers.Tanh(),
    layers.Softmax(),
    layers.Identity(),
    layers.Scale(),
    layers.Add(),
    layers.Concat(),
    layers.Split(1, 3),
    layers.ChannelShuffle(2),
    layers.ChannelConvolution(3),
]
BESIDE_TRAINING = {layers.Dropout}
"""Operations that the reference is trained without."""


def test_every_operation_is_tested():
    known = {kind for kind in vars(layers).values() if isinstance(kind, type) and issubclass(kind, layers.Operation)}
    assert {type(operation) for operation in OPERATIONS} | BESIDE_TRAINING | {layers.Operation} == known


def weights_of(graph: Graph) -> dict[str, np.ndarray]:
    weights = {}
    for node in graph.nodes:
        for role, shape in node.operation.parameters:
            drawn = RNG.uniform(0.5, 1.5, shape) if role is layers.Role.VARIANCE else RNG.normal(size=shape)
            weights[canonical_name(node.path, role)] = drawn
    return weights


@pytest.mark.parametrize("operation", OPERATIONS, ids=repr)
def test_the_gradients_of_every_operation_are_finite_differences_of_the_loss(operation):
    graph = graph_of(operation)
    weights, images, labels = weights_of(graph), 3 * RNG.normal(size=MAPS), np.array([0, 2])

    def training_pass(weights):
        return Backward(Case("one", OneOperation(graph), weights, images), labels)

    gradients = training_pass(weights).run().gradients
    assert gradients.keys() >= {"scaled.weight", "logits.weight"}
    largest = max(np.abs(array).max() for array in gradients.values())
    for name, gradient in gradients.items():
        direction = RNG.normal(size=gradient.shape)
        losses = [
            training_pass({**weights, name: weights[name] + step * direction}).run().loss for step in (1e-6, -1e-6)
        ]
        difference = (losses[0] - losses[1]) / 2e-6
        assert abs(difference - (gradient * direction).sum()) <= FINITE_DIFFERENCES * largest, name


@pytest.mark.parametrize("operation", OPERATIONS, ids=repr)
def test_the_output_of_every_operation_has_the_shape_that_it_tells(operation):
    graph = graph_of(operation)
    shapes, seen = graph.shapes(MAPS[1:]), {}

    def observe(path, output, x):
        seen[path] = output.shape[1:]
        return output

    Oracle(OneOperation(graph), weights_of(graph), observe=observe).logits(RNG.normal(size=MAPS))
    assert seen == {path: shapes[path] for path in seen}


@pytest.mark.parametrize("operation", OPERATIONS, ids=repr)
def test_the_output_of_every_operation_is_that_of_torch(operation):
    """Of a sum, its mean over space: the reference observes a sum only with a ReLU after it."""
    graph = graph_of(operation)
    weights = weights_of(graph)
    outputs = {}

    def observe(path, output, x):
        outputs[path] = output
        return output

    images = 3 * RNG.normal(size=MAPS)
    Oracle(OneOperation(graph), weights, observe=observe).logits(images)
    (node,) = (node for node in graph.nodes if node.path == "operation")
    expected = torch_output(operation, [outputs[path] for path in node.inputs], weights)
    if isinstance(operation, layers.Add):
        expected, found = expected.mean((2, 3)), outputs["pool"]
    else:
        found = outputs["operation"]
    assert np.abs(found - expected).max() <= TWO_LIBRARIES * np.abs(expected).max()


def torch_output(operation, inputs, weights):
    """The operation in torch, called as its documentation describes it."""
    import torch
    from torch.nn import functional

    x, *others = map(torch.tensor, inputs)
    own = {name.removeprefix("operation."): torch.tensor(array) for name, array in weights.items()}
    match operation:
        case layers.Convolution():
            settings = operation.stride, operation.paddings, operation.dilation, operation.groups
            y = functional.conv2d(x, own["weight"], own.get("bias"), *settings)
        case layers.BatchNorm():
            y = functional.batch_norm(
                x, own["running_mean"], own["running_var"], own.get("weight"), own["bias"], eps=operation.epsilon
            )
        case layers.Dense():
            y = functional.linear(x, own["weight"], own["bias"])
        case layers.MaxPool():
            (top, bottom), (left, right) = map(operation.padding, x.shape[2:])
            y = functional.max_pool2d(functional.pad(x, (left, right, top, bottom), value=-np.inf), 3, 2)
        case layers.BlurPool():
            kernel = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]], dtype=x.dtype).repeat(MAPS[1], 1, 1, 1) / 16
            y = functional.conv2d(functional.pad(x, (1, 1, 1, 1), "reflect"), kernel, stride=2, groups=MAPS[1])
        case layers.AveragePool():
            window = operation.kernel, operation.stride, operation.padding
            y = functional.avg_pool2d(x, *window, operation.ceil, operation.count_include_pad)
        case layers.ChannelConvolution():
            y = functional.conv1d(x[:, None], own["weight"], padding=operation.kernel // 2)[:, 0]
        case layers.Split():
            y = torch.split(x, [1, 2, 3], dim=1)[1]
        case layers.ChannelShuffle():
            y = functional.channel_shuffle(x, operation.groups)
        case layers.Scale():
            y = x * others[0][:, :, None, None]
        case layers.Concat():
            y = torch.cat((x, *others), dim=1)
        case _:
            y = {
                layers.Add: lambda: x + others[0],
                layers.MeanOverSpace: lambda: x.mean((2, 3)),
                layers.MaxOverSpace: lambda: x.amax((2, 3)),
                layers.ReLU: lambda: functional.relu(x),
                layers.ReLU6: lambda: functional.relu6(x),
                layers.Sigmoid: lambda: torch.sigmoid(x),
                layers.Tanh: lambda: torch.tanh(x),
                layers.Softmax: lambda: functional.softmax(x, dim=1),
                layers.Identity: lambda: x,
            }[type(operation)]()
    return y.numpy()
