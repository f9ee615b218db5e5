"""Folding norms into convolutions keeps the logits, and folded networks are written and read like others."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

import se_weights
from parity_tests.support.cases import architecture, named_network, small_network
from parity_tests.support.tolerances import FLOAT64_LOGITS
from se_parity import Oracle, compare
from se_spec import Architecture, Role, manifest, multiply_adds, parameter_count
from se_weights import DIALECTS, Checkpoint, UnsupportedFormat, WeightMismatch, fold_batchnorm, weights_sha256
from se_weights.reading.recognition import recognise

CASES = [
    "se_resnet18 of weiaicunzai",
    "se_resnet50 with another epsilon",
    "se_resnet18 with every shortcut",
    "se_resnext26t, small",
    "senet154, small",
    "se_resnet50 without a head",
]
"""Convolutions with biases, another epsilon, projections, groups, deep stems, no classifier."""

UNUSABLE = {
    "layer1.0.bn1.running_var": (-1.0, r"\+ epsilon is -1 \+ 1e-05"),
    "layer2.0.downsample.1.running_var": (np.inf, "not finite"),
    "bn1.weight": (np.nan, "not finite"),
}

FILES = [
    (".safetensors", "torch"),
    (".safetensors", "linen"),
    (".pth", "torch"),
    (".weights.h5", "keras"),
    (".msgpack", "nnx"),
    (".npz", "nnx"),
]


def logits(checkpoint: Checkpoint, images):
    return Oracle(checkpoint.architecture, checkpoint.weights).logits(images)


def as_type(checkpoint: Checkpoint, dtype) -> Checkpoint:
    return replace(checkpoint, weights={name: array.astype(dtype) for name, array in checkpoint.weights.items()})


@pytest.mark.parametrize("case", CASES)
def test_a_folded_network_gives_the_same_logits(case):
    network = named_network(case)
    folded = fold_batchnorm(as_type(network.checkpoint, np.float64))
    assert compare(network.reference, logits(folded, network.images)).share <= FLOAT64_LOGITS
    assert compare(network.reference, logits(fold_batchnorm(network.checkpoint), network.images)).share <= network.limit


def test_a_folded_network_has_biases_and_no_norms():
    network = small_network()
    folded = fold_batchnorm(network.checkpoint)
    roles = {parameter.role for parameter in manifest(folded.architecture)}
    assert not roles & {Role.GAMMA, Role.BETA, Role.MEAN, Role.VARIANCE}
    convolutions = [parameter for parameter in manifest(folded.architecture) if parameter.role is Role.CONVOLUTION]
    biases = [parameter for parameter in manifest(folded.architecture) if parameter.role is Role.CONVOLUTION_BIAS]
    assert [one.module for one in convolutions] == [one.module for one in biases]
    assert multiply_adds(folded.architecture) == multiply_adds(network.architecture)
    assert parameter_count(folded.architecture) < parameter_count(network.architecture)
    assert Architecture.from_dict(folded.architecture.to_dict()) == folded.architecture
    assert folded.metadata["folded"] == "norms into convolutions"


def test_folding_does_not_change_the_callers_arrays_and_is_idempotent():
    network = small_network()
    before = weights_sha256(network.weights)
    folded = fold_batchnorm(network.checkpoint)
    assert weights_sha256(network.weights) == before
    assert fold_batchnorm(folded) is folded


def test_networks_that_differ_only_in_norm_settings_fold_to_one_architecture():
    network = named_network("se_resnet50 with another epsilon")
    usual = network.architecture.replace(bn_epsilon=1e-5)
    folded = [fold_batchnorm(Checkpoint(one, network.weights)) for one in (network.architecture, usual)]
    assert folded[0].architecture == folded[1].architecture
    assert weights_sha256(folded[0].weights) != weights_sha256(folded[1].weights)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16])
def test_a_folded_weight_is_rounded_once_to_its_original_dtype(dtype):
    stored = as_type(small_network().checkpoint, dtype)
    folded, exact = fold_batchnorm(stored), fold_batchnorm(as_type(stored, np.float64))
    for name, array in folded.weights.items():
        assert array.dtype == dtype
        assert np.array_equal(array, exact.weights[name].astype(dtype))


def test_norms_that_cannot_be_folded_are_all_named():
    network = small_network()
    weights = dict(network.weights)
    for name, (value, _) in UNUSABLE.items():
        weights[name] = weights[name].copy()
        weights[name][1] = value
    with pytest.raises(WeightMismatch) as caught:
        fold_batchnorm(Checkpoint(network.architecture, weights))
    assert {line.split()[1] for line in caught.value.differences} == set(UNUSABLE)
    for name, (_, complaint) in UNUSABLE.items():
        with pytest.raises(WeightMismatch, match=rf"! {name} .*{complaint}"):
            fold_batchnorm(Checkpoint(network.architecture, weights))


def test_a_folded_weight_that_overflows_its_dtype_is_refused():
    network = small_network()
    weights = {name: array.astype(np.float16) for name, array in network.weights.items()}
    weights["bn1.weight"] = np.full_like(weights["bn1.weight"], 6e4)
    weights["bn1.running_var"] = np.zeros_like(weights["bn1.running_var"])
    with pytest.raises(WeightMismatch, match=r"! conv1.weight has values that are not finite"):
        fold_batchnorm(Checkpoint(network.architecture, weights))


@pytest.mark.parametrize(("suffix", "dialect"), FILES)
def test_a_folded_checkpoint_is_read_back_unchanged(tmp_path, suffix, dialect):
    folded = fold_batchnorm(small_network(se_bias=True).checkpoint)
    path = tmp_path / f"folded{suffix}"
    se_weights.write(folded, path, dialect=dialect)
    read = se_weights.read(path)
    assert (read.architecture.folded, read.dialect) == (True, dialect)
    assert read.architecture.function_key() == folded.architecture.function_key()
    assert weights_sha256(read.weights) == weights_sha256(folded.weights)


FAMILIES = {"se_resnet": "se_resnet50", "se_densenet": "se_densenet40_cifar"}


@pytest.mark.parametrize(
    ("dialect", "family"), [(dialect, family) for dialect, chosen in DIALECTS.items() for family in chosen.tables]
)
def test_a_folded_network_is_recognised_from_its_tensors(dialect, family):
    """In our own dialects; the others refuse networks without norms."""
    known = architecture(FAMILIES[family]).replace(folded=True)
    chosen = DIALECTS[dialect]
    if chosen.carries_config:
        reading = recognise("the tensors", chosen.shapes(known), [chosen])
        assert reading.architecture == known
    else:
        assert "folded" in (chosen.why_unsupported(known) or "")
        with pytest.raises(WeightMismatch):
            recognise("the tensors", chosen.shapes(known), [chosen])


def test_a_foreign_dialect_refuses_a_folded_network(tmp_path):
    with pytest.raises(UnsupportedFormat, match="timm has no network without norms"):
        se_weights.write(fold_batchnorm(small_network().checkpoint), tmp_path / "folded.pth", dialect="timm")
