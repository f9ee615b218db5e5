"""`identify` finds hidden config, preprocessing and class order from a few outputs of the original network."""

import json
import re

import numpy as np
import pytest

import se_spec
import se_weights
from parity_tests.cli.test_command_line import se_resnet
from parity_tests.support.twins_table import error_of, identify_small, twins_of_networks
from se_parity import Oracle, trained_like_weights
from se_parity.identify.hypotheses import AS_GIVEN, FILE_IN_CAFFES_ORDER, REVERSED
from se_parity.identify.identify import identify
from se_parity.identify.known_outputs import known_outputs
from se_weights import Checkpoint
from se_weights.preprocessing import CAFFE, IMAGENET
from se_weights.transforms.reorder import caffe_to_standard

COUNT = 8
SMALL = {"depths": (1, 2), "widths": (16, 32), "reduction": 4, "se_bias": True, "num_classes": 1000}
ORIGINALS = {  # the dialect of the original network, and the settings that must be found
    "pytorchcv's seresnet50": ("pytorchcv", {"stride_in": "conv1"}),
    "pytorchcv's seresnet50b": ("pytorchcv", {"stride_in": "conv2"}),
    "a pool without margins": ("cadene", {"stem.pool": "ceil", "stride_in": "conv1"}),
    "qubvel's padding of Cadene's weights": ("cadene", {"stem.pool": "pad1", "stride_in": "conv1"}),
    "a ReLU before the squeeze": ("cadene", {"squeeze.after_relu": True, "stride_in": "conv1", "stem.pool": "ceil"}),
    "an epsilon of 1e-3": ("timm", {"bn_epsilon": 1e-3}),
    "averaging shortcuts": ("cadene", {"shortcut.averages": True, "stride_in": "conv2", "stem.pool": "ceil"}),
}


def with_settings(known, settings):
    changes = {}
    for setting, value in settings.items():
        group, _, name = setting.partition(".")
        changes[group] = {**changes.get(group, {}), name: value} if name else value
    return known.replace(**changes)


def images(dtype="float32"):
    """Random images, of odd height or width at the pool and even in the other, so that all three alignments differ."""
    rng = np.random.default_rng(3)
    if dtype == "uint8":
        return rng.integers(0, 256, (COUNT, 3, 40, 50), dtype=np.uint8)
    return rng.normal(0, 1, (COUNT, 3, 40, 50)).astype(np.float32)


def case(tmp_path, dialect, settings, scale=1.0):
    """A file in a dialect, without metadata, of a network with these settings, for images of this scale."""
    base = se_weights.DIALECTS[dialect].completed(se_spec.architecture("se_resnet50", **SMALL))
    known = with_settings(base, settings)
    weights = trained_like_weights(known)
    weights["conv1.weight"] *= np.float32(scale)
    tensors = {}
    for parameter, place in se_weights.DIALECTS[dialect].places(known).items():
        array = se_weights.relayout(weights[parameter.name], parameter.axes, place.axes)
        tensors |= {name: place.part(array, number) for number, name in enumerate(place.names)}
    path = tmp_path / "file.npz"
    np.savez(path, **tensors)
    return path, known, weights


SWEEP = pytest.mark.sweep
QUICK = ("pytorchcv's seresnet50b", "a pool without margins")


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(("given_as", "scale"), [("logits", 40.0), pytest.param("probabilities", 1.0, marks=SWEEP)])
def test_a_network_is_identified_by_its_probabilities(tmp_path, given_as, scale):
    """As a model that ends in a softmax gives them; they are recognised among logits, and some may be zero."""
    dialect, settings = ORIGINALS[QUICK[0]]
    path, known, weights = case(tmp_path, dialect, settings)
    weights["fc.weight"] *= np.float32(scale)
    np.savez(path, **{**np.load(path), "output.weight": weights["fc.weight"]})
    probabilities = softmax(Oracle(known, weights).logits(images()))
    assert (probabilities.min() == 0) == (scale > 1)
    found = identify(se_weights.read_candidates(path), images(), **{given_as: probabilities})
    assert found.outputs == "probabilities"
    assert found.identified.hypothesis.architecture.function_key() == known.function_key()
    assert found.next_error > 5 * found.identified.error


@pytest.mark.parametrize("outputs", ["logits", pytest.param("labels", marks=SWEEP)])
@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in QUICK else [SWEEP]) for name in ORIGINALS])
def test_a_network_is_identified_by_its_outputs(tmp_path, name, outputs):
    dialect, settings = ORIGINALS[name]
    path, known, weights = case(tmp_path, dialect, settings)
    logits = Oracle(known, weights).logits(images())
    given = {"logits": logits} if outputs == "logits" else {"labels": logits.argmax(axis=1)}
    found = identify(se_weights.read_candidates(path), images(), **given)
    right = [match.hypothesis.architecture.function_key() == known.function_key() for match in found.matches]
    assert any(right)
    if outputs == "logits":
        assert found.identified
        assert found.identified.hypothesis.architecture.function_key() == known.function_key()
        assert found.next_error > 10 * found.identified.error
    else:  # labels alone cannot show an epsilon, and may leave more open; they must not identify a wrong network
        assert not found.identified or found.identified.hypothesis.architecture.function_key() == known.function_key()


@pytest.mark.parametrize(
    "settings", [{"output_stride": 16}, pytest.param({"output_stride": 8, "dilates_first": True}, marks=SWEEP)], ids=str
)
def test_a_dilated_network_is_identified_by_its_logits(tmp_path, settings):
    dialect = "cadene" if "dilates_first" in settings else "timm"  # smp dilates from the first block on
    deep = {"depths": (1, 1, 1, 2), "widths": (8, 8, 12, 16)}
    path, known, weights = case(tmp_path, dialect, deep | settings)
    found = identify(se_weights.read_candidates(path), images(), logits=Oracle(known, weights).logits(images()))
    assert found.identified.hypothesis.architecture.function_key() == known.function_key()
    assert found.next_error > 10 * found.identified.error


@pytest.mark.parametrize(
    "wrong", [[[0.5, 0.6]], [[1.2, -0.2]], [[np.nan, 1.0]], [[1.0]]], ids=["their sum", "a sign", "NaN", "one class"]
)
def test_probabilities_that_are_none_are_refused_and_such_logits_stay_logits(wrong):
    with pytest.raises(ValueError, match="add up to one"):
        known_outputs(probabilities=np.array(wrong))
    assert known_outputs(logits=np.array(wrong)).kind == "logits"


def test_rounded_probabilities_are_detected_among_logits():
    probabilities = softmax(np.random.default_rng(0).normal(size=(3, 1000)))
    for dtype in ("float32", "float16", "bfloat16"):
        assert known_outputs(logits=probabilities.astype(dtype)).kind == "probabilities"


@SWEEP
@pytest.mark.parametrize(("network", "twins"), [pytest.param(*row, id=row[0].full_name) for row in twins_of_networks()])
def test_published_networks_with_the_same_tensors_are_distinguished(network, twins):
    found = identify_small(network)
    assert error_of(network, found) <= found.limit
    assert all(error_of(twin, found) > 100 * found.limit for twin in twins)


@pytest.mark.parametrize("outputs", ["logits", "labels"])
@pytest.mark.parametrize(
    ("channels", "classes"),
    [pytest.param("BGR", "standard", marks=SWEEP), pytest.param("RGB", "caffe", marks=SWEEP), ("BGR", "caffe")],
)
def test_the_order_of_channels_and_classes_is_identified(tmp_path, channels, classes, outputs):
    path, known, weights = case(tmp_path, "timm", {})
    fed = images()[:, ::-1] if channels == "BGR" else images()
    logits = Oracle(known, weights).logits(fed)
    if classes == "caffe":  # the file is in Caffe's order, and the outputs were reordered to the standard one
        logits = logits[:, np.argsort(caffe_to_standard())]
    given = {"logits": logits} if outputs == "logits" else {"labels": logits.argmax(axis=1)}
    found = identify(se_weights.read_candidates(path), images(), **given).matches
    expected = REVERSED if channels == "BGR" else AS_GIVEN, FILE_IN_CAFFES_ORDER if classes == "caffe" else AS_GIVEN
    orders = {(match.hypothesis.input_transform.name, match.hypothesis.class_order) for match in found}
    if outputs == "logits":
        assert orders == {expected}
        preprocessing = found[0].hypothesis.confirmed().preprocessing
        assert (preprocessing.channels, preprocessing.classes) == (channels, classes)
    else:  # labels of eight noise images show the order of the classes, but not that of the channels
        assert expected in orders
        assert {classes for _, classes in orders} == {expected[1]}


@pytest.mark.parametrize(("name", "preprocessing"), [pytest.param("imagenet", IMAGENET, marks=SWEEP), ("caffe", CAFFE)])
def test_the_preprocessing_of_uint8_images_is_identified(tmp_path, name, preprocessing):
    path, known, weights = case(tmp_path, "timm", {}, scale=1 if name == "imagenet" else 1 / 60)
    pixels = images("uint8")
    logits = Oracle(known, weights).logits(preprocessing.apply(pixels, 255))
    found = identify(se_weights.read_candidates(path), pixels, logits=logits).identified
    assert found.hypothesis.input_transform.name == f"{name}, given as RGB"
    assert found.hypothesis.confirmed().preprocessing == preprocessing


@pytest.mark.sweep
def test_outputs_of_another_network_are_not_reproduced(tmp_path):
    path, known, _ = case(tmp_path, "timm", {})
    logits = Oracle(known, trained_like_weights(known, seed=1)).logits(images())
    found = identify(se_weights.read_candidates(path), images(), logits=logits)
    assert not found.matches
    assert found.identified is None
    assert found.results[0].error > 0.01


def test_the_command_names_the_match_and_writes_it_with_its_config(tmp_path):
    path, known, weights = case(tmp_path, "pytorchcv", ORIGINALS["pytorchcv's seresnet50b"][1])
    inputs, out = tmp_path / "inputs.npz", tmp_path / "found.safetensors"
    np.savez(inputs, images=images().transpose(0, 2, 3, 1), logits=Oracle(known, weights).logits(images()))
    ran = se_resnet("identify", path, "--inputs", inputs, "--out", out)
    assert ran.returncode == 0, ran.stderr
    assert "reproduced by dialect=pytorchcv-b, stride_in=conv2" in ran.stdout.replace("\n", " ")
    assert se_weights.read(out).architecture.function_key() == known.function_key()


def test_the_command_exits_with_1_if_no_hypothesis_reproduces_the_outputs(tmp_path):
    known = se_spec.architecture("se_resnet20_cifar", depths=(1,), widths=(16,))
    se_weights.write(Checkpoint(known, trained_like_weights(known)), tmp_path / "a.npz")
    np.savez(tmp_path / "inputs.npz", images=images(), logits=np.eye(COUNT, 10))
    ran = se_resnet("identify", tmp_path / "a.npz", "--inputs", tmp_path / "inputs.npz", "--json")
    assert ran.returncode == 1
    facts = json.loads(ran.stdout)
    assert facts["identified"] is None
    assert facts["findings"][0]["error"] > facts["limit"]


def test_a_tolerance_is_proposed_where_rounding_may_explain_the_error(tmp_path):
    known = se_spec.architecture("se_resnet20_cifar", depths=(1,), widths=(16,))
    weights = trained_like_weights(known)
    se_weights.write(Checkpoint(known, weights), tmp_path / "a.npz")
    logits = Oracle(known, weights).logits(images())
    rounded = logits + 1e-3 * np.ptp(logits) * np.sign(np.random.default_rng(0).normal(size=logits.shape))
    np.savez(tmp_path / "inputs.npz", images=images(), logits=rounded)
    command = "identify", tmp_path / "a.npz", "--inputs", tmp_path / "inputs.npz"
    ran = se_resnet(*command)
    assert ran.returncode == 1
    assert f"on all {COUNT} images" in ran.stderr
    proposed = re.search(r"--tolerance (\S+) accepts it", ran.stdout)
    assert float(proposed[1]) > 1e-3
    accepted = se_resnet(*command, "--tolerance", proposed[1], "--json")
    assert any(found["error"] <= float(proposed[1]) for found in json.loads(accepted.stdout)["reproducing"])


def test_a_network_that_was_read_as_two_dialects_is_run_once():
    known = se_spec.architecture("se_resnet20_cifar", depths=(1,), widths=(16,))
    weights = trained_like_weights(known)
    checkpoints = [Checkpoint(known, weights), Checkpoint(known.replace(bn_epsilon=1e-3), weights)]
    found = identify(checkpoints, images(), logits=Oracle(known, weights).logits(images()))
    settings = [str(result.hypothesis.to_dict()) for result in found.results]
    assert len(settings) == len(set(settings))
    assert found.identified.hypothesis.architecture.bn_epsilon == known.bn_epsilon


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({}, "images"),
        ({"images": np.zeros((2, 4, 4, 5))}, "C = 3"),
        ({"images": np.zeros((2, 3, 40, 40))}, "logits"),
        ({"images": np.zeros((2, 3, 40, 40)), "logits": np.zeros((2, 7))}, "1000"),
        ({"images": np.zeros((2, 3, 40, 40)), "labels": np.zeros(3)}, "labels"),
    ],
)
def test_unusable_inputs_are_named_in_the_error(tmp_path, arrays, complaint):
    known = se_spec.architecture("se_resnet18", **SMALL)
    se_weights.write(Checkpoint(known, trained_like_weights(known)), tmp_path / "a.npz")
    np.savez(tmp_path / "inputs.npz", **arrays)
    ran = se_resnet("identify", tmp_path / "a.npz", "--inputs", tmp_path / "inputs.npz")
    assert ran.returncode == 3
    assert complaint in ran.stderr
    assert se_resnet("identify", tmp_path / "a.npz", "--inputs", tmp_path / "missing.npz").returncode == 6
