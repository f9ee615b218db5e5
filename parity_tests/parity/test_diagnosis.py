"""The diagnosis finds the layer where a framework diverges from the reference, and names the fault.

This is the quick part; parity_tests/faults/test_mutants.py plants every fault.
"""

import numpy as np
import pytest

from parity_tests.support.cases import small_network
from se_parity.diagnose.diagnosis import Diagnosis, diagnose
from se_parity.diagnose.explain import explain
from se_parity.diagnose.localise import localise_loaded

FAULTS = {
    "beta and running mean swapped": (
        "layer2.0.bn2",
        lambda weights: {
            **weights,
            "layer2.0.bn2.bias": weights["layer2.0.bn2.running_mean"],
            "layer2.0.bn2.running_mean": weights["layer2.0.bn2.bias"],
        },
    ),
    "kernel height and width swapped": (
        "layer1.0.conv2",
        lambda weights: {**weights, "layer1.0.conv2.weight": weights["layer1.0.conv2.weight"].swapaxes(2, 3)},
    ),
    "bias missing": ("fc", lambda weights: {**weights, "fc.bias": np.zeros_like(weights["fc.bias"])}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_parameter_is_localised_and_named(worker, fault):
    case = small_network(se_bias=True).case.astype("float64")
    path, change = FAULTS[fault]
    worker.load(case.architecture, change(case.weights), "float64")
    localisation = localise_loaded(worker, case, "float64")
    assert [layer.path for layer in localisation.failing_layers] == [path]
    assert localisation.first_diverging.path == path
    nearest, second = explain(case, localisation)[:2]
    assert (nearest.fault, nearest.reproduces, second.reproduces) == (fault, True, False)
    (_, where, why) = Diagnosis([localisation], [nearest]).sentences
    assert where.startswith(f"failing layer, tested alone on the reference's input: {path} ")
    assert f"explained by {fault!r}, in {path}:" in why


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_every_layer_of_a_correct_network_is_within_its_limit(worker, block):
    case = small_network(block).case
    diagnosis = diagnose(worker, case)
    assert not diagnosis.failing, diagnosis.sentences
    paths = {layer.path for layer in diagnosis.localisations[0].layers}
    assert {name.rpartition(".")[0] for name in case.weights} <= paths
    assert {block.name for block in case.architecture.blocks()} <= paths
    assert set(diagnosis.localisations[0].gates) == {f"{block.name}.se" for block in case.architecture.blocks()}


def test_a_slightly_wrong_value_is_localised_and_given_no_name(worker):
    case = small_network("basic").case.astype("float64")
    variance = case.weights["layer3.0.bn1.running_var"]
    worker.load(case.architecture, {**case.weights, "layer3.0.bn1.running_var": variance * 1.0001}, "float64")
    localisation = localise_loaded(worker, case, "float64")
    explanations = explain(case, localisation)
    assert [layer.path for layer in localisation.failing_layers] == ["layer3.0.bn1"]
    assert not explanations[0].reproduces
    assert "no known fault matches" in Diagnosis([localisation], explanations).sentences[-1]
