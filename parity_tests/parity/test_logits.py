"""Identical weights in all three frameworks: the same logits, in every mode."""

import numpy as np
import pytest

import se_spec
from parity_tests.support.cases import (
    SMALL,
    Network,
    each_architecture,
    full_size,
    named_network,
    needs,
    network,
    small_network,
)
from parity_tests.support.tolerances import FLOAT32_LOGITS, FLOAT64_LOGITS
from se_parity import Oracle, Worker, check_parity, compare
from se_parity.judge.matrix import installed_frameworks
from se_parity.reference.activations import record_activations
from se_parity.run.modes import modes_of


def share(worker: Worker, network: Network, dtype: str, mode: str = "eager") -> float:
    worker.load(network.architecture, network.weights, dtype)
    logits = worker.logits(network.images.astype(dtype), mode)
    assert logits.dtype == dtype
    difference = compare(network.truth, logits)
    assert difference.same_nonfinite
    return difference.share


def plain_modes(framework: str) -> list[str]:
    """Those that need no environment or interpreter of their own."""
    return [mode.name for mode in modes_of(framework) if not mode.variables]


@pytest.mark.parametrize("case", each_architecture())
def test_float64_logits_are_the_oracles(worker, case):
    assert share(worker, named_network(case), "float64") <= FLOAT64_LOGITS


@pytest.mark.parametrize("case", each_architecture(named_only=True))
def test_float32_logits_are_within_the_rounding_of_the_network(worker, case):
    network = named_network(case)
    assert share(worker, network, "float32") <= network.limit


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (31, 97), (64, 64)])
def test_images_of_any_size_give_the_oracles_logits(worker, size):
    images = network(small_network("basic").architecture, 1, *size)
    assert share(worker, images, "float64") <= FLOAT64_LOGITS


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_mode_gives_the_oracles_logits(worker, block, dtype):
    small = small_network(block)
    limit = {"float64": FLOAT64_LOGITS, "float32": small.limit}[dtype]
    assert worker.modes() == [mode.name for mode in modes_of(worker.framework)]
    for mode in plain_modes(worker.framework):
        assert share(worker, small, dtype, mode) <= limit, mode


def test_square_matrices_are_laid_out_right(worker):
    """Gates with r = 1 and a classifier with as many classes as features: a shape cannot tell their transposes."""
    facts = SMALL | {"num_classes": 64, "reduction": 1, "se_bias": True}
    square = network(se_spec.architecture("se_resnet50", **facts))
    assert square.weights["fc.weight"].shape == (64, 64)
    assert share(worker, square, "float64") <= FLOAT64_LOGITS


@pytest.mark.parametrize("case", ["se_resnet18", "se_resnet50"])
def test_every_blocks_output_is_the_same(worker, case):
    known = named_network(case)
    truth = record_activations(known.case).outputs
    worker.load(known.architecture, known.weights, "float32")
    features = worker.layer_outputs(known.images, [block.name for block in known.architecture.blocks()])
    assert set(features) == {block.name for block in known.architecture.blocks()}
    for name, output in features.items():
        assert compare(truth[name], output).share <= known.limit, name


@pytest.mark.sweep
@pytest.mark.timeout(600)
def test_se_resnet50_at_full_size_is_within_1e_5_in_every_mode():
    report = check_parity([full_size().case], frameworks=installed_frameworks(), dtypes=["float32"])
    modes = sum(len(modes_of(framework)) for framework in installed_frameworks())
    assert len(report.runs) + len(report.skips) == modes
    for run in report.runs:
        assert run.difference.share <= min(run.limit, FLOAT32_LOGITS), run.mode
        assert run.difference.top1 == run.difference.top5 == 1


@pytest.mark.parametrize(
    "backend", [pytest.param("jax", marks=needs("flax")), pytest.param("torch", marks=needs("torch"))]
)
@needs("tf")
def test_the_keras_model_gives_the_same_logits_on_other_backends(backend):
    with Worker("tf", variables={"KERAS_BACKEND": backend}) as worker:
        assert worker.environment["backend"] == backend
        small = small_network(se_bias=True)
        assert share(worker, small, "float32") <= small.limit


@pytest.mark.sweep
def test_nan_and_infinity_come_out_where_the_oracle_has_them(worker):
    small = small_network("basic")
    images = small.images.copy()
    images[1, 0, 3, 3] = np.nan
    truth = Oracle(small.architecture, small.weights).logits(images)
    assert np.isnan(truth[1]).all()
    assert not np.isnan(truth[0]).any()
    worker.load(small.architecture, small.weights, "float32")
    for mode in plain_modes(worker.framework):
        difference = compare(truth, worker.logits(images, mode))
        assert difference.same_nonfinite, mode
        assert difference.share <= small.limit
