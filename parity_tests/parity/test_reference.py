"""The reference that runs the graph agrees with the one that was written from the papers by hand."""

import numpy as np
import pytest

from parity_tests.support.cases import each_architecture, named_network
from parity_tests.support.hand_written_reference import HandWrittenBackward, HandWrittenOracle
from parity_tests.support.tolerances import REFERENCES
from se_parity import Oracle
from se_parity.reference.activations import record_activations
from se_parity.reference.backward import Backward
from se_parity.train.check_training import VANISHING
from se_parity.train.reference_training import without_dropout
from se_spec.layers import Add, Dropout

HEADLESS = "se_resnet50 without a head"
"""The case that has no classes, and so no loss."""


def largest_share(found, expected) -> float:
    """The largest difference as a share of its tensor's largest value, or of the largest of all where it vanishes."""
    assert found.keys() == expected.keys()
    sizes = {name: np.abs(array).max() for name, array in expected.items()}
    largest = max(sizes.values())
    scales = {name: size if size > VANISHING * largest else largest for name, size in sizes.items()}
    return max(np.abs(found[name] - expected[name]).max() / scales[name] for name in expected)


@pytest.mark.parametrize("case", each_architecture(family="se_resnet"))
def test_every_output_and_its_shape_are_those_of_the_reference_written_by_hand(case):
    network = named_network(case)
    expected = {}

    def record(path, output, x):
        expected[path] = output
        return output

    HandWrittenOracle(network.architecture, network.weights, observe=record).logits(network.images)
    seen = record_activations(network.case).outputs
    assert list(seen) == list(expected)
    assert largest_share(seen, expected) <= REFERENCES
    graph = network.architecture.graph
    shapes = graph.shapes(network.images.shape[1:])
    assert {path: shapes[path] for path in expected} == {path: array.shape[1:] for path, array in expected.items()}
    # A sum is observed with the ReLU after it, where it has one, and nothing is dropped.
    assert all(isinstance(node.operation, Add | Dropout) for node in graph.nodes if node.path not in expected)


@pytest.mark.parametrize("case", [case for case in each_architecture(family="se_resnet") if case.values != (HEADLESS,)])
def test_every_gradient_and_statistic_is_that_of_the_reference_written_by_hand(case):
    case = without_dropout(named_network(case).case)
    labels = np.arange(len(case.images)) % case.architecture.num_classes
    found, expected = (backward(case, labels).run() for backward in (Backward, HandWrittenBackward))
    assert found.loss == pytest.approx(expected.loss, rel=REFERENCES)
    assert largest_share(found.gradients, expected.gradients) <= REFERENCES
    if not case.architecture.folded:
        assert largest_share(found.statistics, expected.statistics) <= REFERENCES


def test_a_module_runs_alone_as_in_the_network():
    network = named_network("se_resnet50 of Cadene")
    seen = record_activations(network.case)
    oracle = Oracle(network.architecture, network.weights)
    for path in network.architecture.graph.module_inputs:
        assert np.array_equal(oracle.module(path, seen.inputs[path]), seen.outputs[path])
