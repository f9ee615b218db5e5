"""The parts of the parity check: workers, differences and limits."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from parity_tests.parity.test_logits import plain_modes
from parity_tests.support.cases import skip_without, small_network
from se_parity import Oracle, Worker, WorkerFailed, check_parity, compare
from se_parity.judge.check_parity import ParityInterrupted, count_steps
from se_parity.judge.limits import logits_limit
from se_parity.judge.matrix import installed_frameworks


def test_a_difference_is_measured_in_every_way():
    reference = np.array([[0.0, 1, 2, 3, 4, 10], [9, 1, 2, 3, 4, 5]])
    output = reference.astype(np.float32)
    assert compare(reference, output).largest == 0
    output[0, 5] += 1e-3
    difference = compare(reference, output)
    assert difference.largest == pytest.approx(1e-3, rel=1e-3)
    assert difference.share == pytest.approx(1e-4, rel=1e-3)
    assert difference.ulp_largest == pytest.approx(1e-3 / np.spacing(np.float32(10)), rel=1e-3)
    assert difference.ulp_median == 0
    assert (difference.top1, difference.top5) == (1, 1)


def test_top1_and_top5_are_counted_by_row():
    reference = np.arange(12.0).reshape(2, 6)
    output = reference.copy()
    output[0, 0] = 99
    difference = compare(reference, output)
    assert (difference.top1, difference.top5) == (0.5, 0.5)
    output[0, 0] = 4.5
    assert (compare(reference, output).top1, compare(reference, output).top5) == (1, 0.5)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_must_be_at_the_same_positions(odd):
    reference = np.array([[1.0, 2.0, 3.0]])
    output = reference.copy()
    output[0, 1] = odd
    assert not compare(reference, output).same_nonfinite
    assert not compare(output, reference).same_nonfinite
    assert compare(output, output.copy()).same_nonfinite
    assert compare(output, output.copy()).share == 0


def test_an_output_of_nothing_but_nan_never_passes():
    reference = np.array([[1.0, 2.0]])
    assert not compare(reference, np.full_like(reference, np.nan)).same_nonfinite


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shape"):
        compare(np.zeros((2, 3)), np.zeros((2, 4)))


def test_the_float32_limit_is_derived_from_the_network_and_is_small():
    network = small_network("basic")
    assert 1e-8 < network.limit < 5e-6
    again = logits_limit(network.architecture, network.weights, network.images, network.reference)
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
def test_a_worker_error_says_why_it_failed(framework):
    with Worker(framework) as worker:
        with pytest.raises(WorkerFailed, match="differences"):
            worker.load(small_network().architecture, {"conv1.weight": np.zeros(3, np.float32)}, "float32")
        worker.load(small_network().architecture, small_network().weights, "float32")
        assert np.isfinite(worker.logits(small_network().images)).all()


def test_an_interpreter_without_the_package_raises_worker_failed(tmp_path):
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho no module named se_parity >&2\nexit 1\n")
    other.chmod(0o755)
    with pytest.raises(WorkerFailed, match="no module named se_parity"), Worker("torch", python=str(other)):
        pass


@pytest.mark.parametrize("framework", installed_frameworks())
def test_a_missing_gpu_raises_an_error(framework):
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
            assert compare(network.reference, worker.logits(network.images, mode)).share <= network.limit, mode


@skip_without("torch")
def test_a_wrong_weight_fails_the_report():
    network = small_network()
    wrong = dict(network.weights) | {"layer3.0.bn3.running_var": network.weights["layer3.0.bn3.running_var"] * 1.0001}
    arguments = {"frameworks": ["torch"], "modes": ["eager"], "dtypes": ["float32"]}
    assert check_parity([network.case], **arguments).passed
    other = Oracle(network.architecture, wrong).logits(network.images)
    assert compare(network.reference, other).share > network.limit
    report = check_parity([network.case], **arguments)
    spoilt = replace(report, runs=[replace(run, difference=compare(network.reference, other)) for run in report.runs])
    assert not spoilt.passed
    assert not replace(report, runs=[]).passed


def child_processes() -> set[int]:
    """Those that this process has started, in any of its threads."""
    return {int(child) for path in Path("/proc/self/task").glob("*/children") for child in path.read_text().split()}


IN_PARALLEL = {"frameworks": ["torch", "flax"], "modes": ["eager", "jit"], "jobs": 2}


@skip_without("flax")
@skip_without("torch")
def test_workers_that_run_at_the_same_time_report_as_one_after_another():
    case, steps, before = small_network("basic").case, {}, child_processes()
    parallel = check_parity(
        [case], **IN_PARALLEL, dtypes=["float64"], on_step=lambda step: steps.update({step: child_processes() - before})
    )
    assert [len(children) for children in steps.values()][:2] == [0, 2]  # the reference, and the first run
    serial = check_parity([case], **{**IN_PARALLEL, "jobs": 1}, dtypes=["float64"])
    assert [run.name for run in parallel.runs] == [run.name for run in serial.runs]
    assert [worker.name for worker in parallel.workers] == [worker.name for worker in serial.workers]
    for one, other in zip(parallel.runs, serial.runs, strict=True):
        assert np.array_equal(one.logits, other.logits)
    assert len(steps) == count_steps(1, ["torch", "flax"], ["eager", "jit"], ["float64"])


@skip_without("flax")
@skip_without("torch")
def test_an_interrupt_ends_every_worker_and_keeps_the_finished_runs():
    before = child_processes()

    def interrupt(step: str) -> None:
        if step.startswith("torch") and "float32" in step:
            raise KeyboardInterrupt

    with pytest.raises(ParityInterrupted) as caught:
        check_parity([small_network("basic").case], **IN_PARALLEL, dtypes=["float64", "float32"], on_step=interrupt)
    assert "torch eager, float64" in caught.value.report.runs[0].name
    assert not caught.value.report.workers  # none has run to its end
    assert child_processes() <= before


@skip_without("flax")
@skip_without("torch")
def test_a_worker_that_fails_ends_the_others():
    before, steps = child_processes(), []
    failing = {**IN_PARALLEL, "pythons": {"torch": shutil.which("false")}}
    with pytest.raises(WorkerFailed, match="the torch worker ended"):
        check_parity([small_network("basic").case], **failing, dtypes=["float64", "float32"], on_step=steps.append)
    assert "flax jit" not in " ".join(steps)
    assert child_processes() <= before
