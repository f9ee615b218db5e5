"""The graph of a network; parity_tests/parity/test_reference.py compares it with a reference written by hand."""

import pickle

import pytest

import se_spec
from se_spec.graph import IMAGES, Graph, Node
from se_spec.layers import BatchNorm, Dense, Dropout, ReLU


@pytest.mark.parametrize("name", se_spec.list_architectures())
def test_every_operation_follows_those_whose_outputs_it_takes_and_all_but_the_last_are_used(name):
    dropped = {"se_resnet": {"dropout": 0.1, "drop_path": 0.1}, "se_densenet": {"drop_rate": 0.1}}
    network = se_spec.architecture(name)
    nodes = network.replace(**dropped[network.family]).graph.nodes
    known = {IMAGES}
    for node in nodes:
        assert set(node.inputs) <= known
        assert node.path not in known
        known.add(node.path)
    assert known - {path for node in nodes for path in node.inputs} == {nodes[-1].path}


def test_an_operation_without_parameters_has_no_position_and_one_with_parameters_has_one():
    for node in se_spec.architecture("senet154").graph.nodes:
        assert bool(node.position) == bool(node.operation.parameters)


def test_every_norm_of_these_networks_can_be_folded_but_not_one_whose_convolution_is_taken_twice():
    graph = se_spec.architecture("se_resnet18").graph
    norms = {node.path for node in graph.nodes if isinstance(node.operation, BatchNorm)}
    assert set(graph.foldable_norms.values()) == norms
    assert graph.foldable_norms["layer2.0.downsample.0"] == "layer2.0.downsample.1"
    twice = Graph((*graph.nodes, Node("copy", ReLU(), ("conv1",))))
    assert set(twice.foldable_norms.values()) == norms - {"bn1"}


def test_a_block_takes_the_output_before_it_and_its_se_layer_that_of_its_last_norm():
    inputs = se_spec.architecture("se_resnet50d", depths=(1,), widths=(64,)).graph.module_inputs
    assert inputs == {"layer1.0": "maxpool", "layer1.0.se": "layer1.0.bn3"}
    cifar = se_spec.architecture("se_resnet20_cifar").graph.module_inputs
    assert cifar["layer1.0"] == "relu1"
    assert cifar["layer2.0"] == "layer1.2"


def test_folding_leaves_the_norms_out_of_the_graph_and_no_classes_the_classifier():
    graph = se_spec.architecture("se_resnet50", folded=True, num_classes=0).graph
    assert not any(isinstance(node.operation, BatchNorm) for node in graph.nodes)
    assert graph.nodes[-1].path == "pool"
    assert graph.shapes((3, 64, 49))["pool"] == (2048,)
    assert sum(isinstance(node.operation, Dense) for node in graph.nodes) == 2 * 16


def test_a_pickle_of_an_architecture_does_not_contain_its_graph():
    architecture = se_spec.architecture("se_resnet50")
    before = pickle.dumps(architecture)
    assert architecture.graph is architecture.graph
    assert pickle.dumps(architecture) == before
    again = pickle.loads(before)
    assert again == architecture
    assert again.graph == architecture.graph


def test_what_is_dropped_in_training_is_in_the_graph():
    nodes = se_spec.architecture("se_resnet18", dropout=0.2, drop_path=0.7).graph.nodes
    dropped = {node.path: node.operation for node in nodes if isinstance(node.operation, Dropout)}
    assert dropped.pop("dropout") == Dropout(0.2)
    assert list(dropped) == [f"layer{stage}.{index}.drop_path" for stage in (1, 2, 3, 4) for index in (0, 1)][1:]
    assert [operation.rate for operation in dropped.values()] == pytest.approx([number / 10 for number in range(1, 8)])
    assert all(operation.images for operation in dropped.values())
