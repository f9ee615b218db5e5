"""With the same weights, all three frameworks give the reference logits in every mode."""

from dataclasses import replace

import numpy as np
import pytest

import se_spec
from parity_tests.support.cases import (
    THREE_STAGES,
    Network,
    each_architecture,
    each_framework,
    full_size,
    named_network,
    network,
    skip_without,
    small_network,
)
from parity_tests.support.tolerances import FLOAT32_LOGITS, FLOAT64_LOGITS
from se_parity import Oracle, Worker, check_parity, compare
from se_parity.judge.matrix import installed_frameworks
from se_parity.reference.activations import record_activations
from se_parity.run.modes import modes_of

QUICK = {"torch": "eager", "tf": "eager", "flax": "jit"}
"""The mode of each framework in which a new network runs soonest: JAX compiles every eager operation for each shape."""


def share(worker: Worker, network: Network, dtype: str, mode: str | None = None) -> float:
    mode = mode or QUICK[worker.framework]
    worker.load(network.architecture, network.weights, dtype)
    logits = worker.logits(network.images.astype(dtype), mode)
    assert logits.dtype == dtype
    difference = compare(network.reference, logits)
    assert difference.same_nonfinite
    return difference.share


def plain_modes(framework: str) -> list[str]:
    """Modes that need no environment variables, and so no other worker."""
    return [mode.name for mode in modes_of(framework) if not mode.variables]


IN_EACH_FRAMEWORK = pytest.mark.parametrize("worker", each_framework(), indirect=True)
"""One network after another in all frameworks: the weights of all of them do not fit in memory."""


@IN_EACH_FRAMEWORK
@pytest.mark.parametrize("case", each_architecture())
def test_float64_logits_match_the_reference(worker, case):
    assert share(worker, named_network(case), "float64") <= FLOAT64_LOGITS


@IN_EACH_FRAMEWORK
@pytest.mark.parametrize("case", each_architecture(named_only=True))
def test_float32_logits_are_within_the_limit_derived_from_rounding(worker, case):
    network = named_network(case)
    assert share(worker, network, "float32") <= network.limit


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (31, 97), (64, 64)])
def test_images_of_any_size_give_the_reference_logits(worker, size):
    images = network(small_network("basic").architecture, 1, *size)
    assert share(worker, images, "float64") <= FLOAT64_LOGITS


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_mode_gives_the_reference_logits(worker, block, dtype):
    small = small_network(block)
    limit = {"float64": FLOAT64_LOGITS, "float32": small.limit}[dtype]
    assert worker.modes() == [mode.name for mode in modes_of(worker.framework)]
    for mode in plain_modes(worker.framework):
        assert share(worker, small, dtype, mode) <= limit, mode


def test_compiled_forms_follow_weights_that_are_loaded_later(worker):
    """Each is compiled once, as long as architecture and dtype stay the same."""
    small = small_network("basic")
    weights = {name: 1.25 * array for name, array in small.weights.items()}
    other = replace(small, weights=weights, reference=Oracle(small.architecture, weights).logits(small.images))
    assert compare(small.reference, other.reference).share > 0.1
    for mode in plain_modes(worker.framework):
        assert share(worker, small, "float64", mode) <= FLOAT64_LOGITS, mode
    for mode in plain_modes(worker.framework):
        assert share(worker, other, "float64", mode) <= FLOAT64_LOGITS, mode


def test_square_matrices_are_not_transposed(worker):
    """Gates with r = 1 and a classifier with as many classes as features have the same shape as their transposes."""
    settings = THREE_STAGES | {"num_classes": 64, "reduction": 1, "se_bias": True}
    square = network(se_spec.architecture("se_resnet50", **settings))
    assert square.weights["fc.weight"].shape == (64, 64)
    assert share(worker, square, "float64") <= FLOAT64_LOGITS


@pytest.mark.parametrize("case", ["se_resnet18", "se_resnet50"])
def test_every_block_output_matches_the_reference(worker, case):
    known = named_network(case)
    reference = record_activations(known.case).outputs
    worker.load(known.architecture, known.weights, "float32")
    features = worker.layer_outputs(known.images, [block.name for block in known.architecture.blocks()])
    assert set(features) == {block.name for block in known.architecture.blocks()}
    for name, output in features.items():
        assert compare(reference[name], output).share <= known.limit, name


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
    "backend", [pytest.param("jax", marks=skip_without("flax")), pytest.param("torch", marks=skip_without("torch"))]
)
@skip_without("tf")
def test_the_keras_model_gives_the_same_logits_on_other_backends(backend):
    with Worker("tf", variables={"KERAS_BACKEND": backend}) as worker:
        assert worker.environment["backend"] == backend
        small = small_network(se_bias=True)
        assert share(worker, small, "float32") <= small.limit


@pytest.mark.sweep
def test_nan_and_infinity_appear_where_the_reference_has_them(worker):
    small = small_network("basic")
    images = small.images.copy()
    images[1, 0, 3, 3] = np.nan
    reference = Oracle(small.architecture, small.weights).logits(images)
    assert np.isnan(reference[1]).all()
    assert not np.isnan(reference[0]).any()
    worker.load(small.architecture, small.weights, "float32")
    for mode in plain_modes(worker.framework):
        difference = compare(reference, worker.logits(images, mode))
        assert difference.same_nonfinite, mode
        assert difference.share <= small.limit
