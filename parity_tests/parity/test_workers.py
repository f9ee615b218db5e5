"""The parity check itself: workers, differences and limits."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from parity_tests.parity.test_logits import plain_modes
from parity_tests.support.cases import needs, small_network
from se_parity import Oracle, Worker, WorkerFailed, check_parity, compare
from se_parity.judge.limits import logits_limit
from se_parity.judge.matrix import installed_frameworks


def test_a_difference_is_measured_in_every_way():
    truth = np.array([[0.0, 1, 2, 3, 4, 10], [9, 1, 2, 3, 4, 5]])
    output = truth.astype(np.float32)
    assert compare(truth, output).largest == 0
    output[0, 5] += 1e-3
    difference = compare(truth, output)
    assert difference.largest == pytest.approx(1e-3, rel=1e-3)
    assert difference.share == pytest.approx(1e-4, rel=1e-3)
    assert difference.ulp_largest == pytest.approx(1e-3 / np.spacing(np.float32(10)), rel=1e-3)
    assert difference.ulp_median == 0
    assert (difference.top1, difference.top5) == (1, 1)


def test_labels_are_counted_by_row():
    truth = np.arange(12.0).reshape(2, 6)
    output = truth.copy()
    output[0, 0] = 99
    difference = compare(truth, output)
    assert (difference.top1, difference.top5) == (0.5, 0.5)
    output[0, 0] = 4.5
    assert (compare(truth, output).top1, compare(truth, output).top5) == (1, 0.5)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_must_stand_in_the_same_places(odd):
    truth = np.array([[1.0, 2.0, 3.0]])
    output = truth.copy()
    output[0, 1] = odd
    assert not compare(truth, output).same_nonfinite
    assert not compare(output, truth).same_nonfinite
    assert compare(output, output.copy()).same_nonfinite
    assert compare(output, output.copy()).share == 0


def test_all_nan_on_one_side_never_passes():
    truth = np.array([[1.0, 2.0]])
    assert not compare(truth, np.full_like(truth, np.nan)).same_nonfinite


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shape"):
        compare(np.zeros((2, 3)), np.zeros((2, 4)))


def test_the_float32_limit_follows_the_network_and_stays_small():
    network = small_network("basic")
    assert 1e-8 < network.limit < 5e-6
    again = logits_limit(network.architecture, network.weights, network.images, network.truth)
    assert again == network.limit


@pytest.mark.parametrize("framework", installed_frameworks())
def test_a_worker_runs_under_another_interpreter(tmp_path, framework):
    other = tmp_path / "python"
    other.write_text(f'#!/bin/sh\ntouch "{tmp_path}/used"\nexec "{sys.executable}" "$@"\n')
    other.chmod(0o755)
    with Worker(framework, python=str(other)) as worker:
        assert worker.environment["device"] in ("cpu", "CPU")
    assert (tmp_path / "used").exists()


@pytest.mark.parametrize("framework", installed_frameworks())
def test_a_worker_says_why_it_cannot(framework):
    with Worker(framework) as worker:
        with pytest.raises(WorkerFailed, match="differences"):
            worker.load(small_network().architecture, {"conv1.weight": np.zeros(3, np.float32)}, "float32")
        worker.load(small_network().architecture, small_network().weights, "float32")
        assert np.isfinite(worker.logits(small_network().images)).all()


def test_an_interpreter_without_the_package_is_a_worker_that_failed(tmp_path):
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho no module named se_parity >&2\nexit 1\n")
    other.chmod(0o755)
    with pytest.raises(WorkerFailed, match="no module named se_parity"), Worker("torch", python=str(other)):
        pass


@pytest.mark.parametrize("framework", installed_frameworks())
def test_no_gpu_is_said_and_not_passed_over(framework):
    with (
        pytest.raises(WorkerFailed, match="sees no GPU") as caught,
        Worker(framework, device="gpu", variables={"CUDA_VISIBLE_DEVICES": ""}),
    ):
        pass
    assert caught.value.kind == "DeviceMissing"


@pytest.mark.gpu
@pytest.mark.parametrize("framework", installed_frameworks())
def test_logits_on_a_gpu_are_within_the_limit(framework):
    network = small_network()
    try:
        worker = Worker(framework, device="gpu").__enter__()
    except WorkerFailed as reason:
        pytest.skip(str(reason))
    with worker:
        worker.load(network.architecture, network.weights, "float32")
        for mode in plain_modes(framework):
            assert compare(network.truth, worker.logits(network.images, mode)).share <= network.limit, mode


@needs("torch")
def test_a_wrong_weight_fails_the_verdict():
    network = small_network()
    wrong = dict(network.weights) | {"layer3.0.bn3.running_var": network.weights["layer3.0.bn3.running_var"] * 1.0001}
    arguments = {"frameworks": ["torch"], "modes": ["eager"], "dtypes": ["float32"]}
    assert check_parity([network.case], **arguments).passed
    other = Oracle(network.architecture, wrong).logits(network.images)
    assert compare(network.truth, other).share > network.limit
    report = check_parity([network.case], **arguments)
    spoilt = replace(report, runs=[replace(run, difference=compare(network.truth, other)) for run in report.runs])
    assert not spoilt.passed
    assert not replace(report, runs=[]).passed
