"""The suite is itself tested: known faults are planted one at a time in a copy of the sources, and must be caught.

Each fault names the test of the ordinary suite that catches it. `make faults` runs them; so does `.ci/run`.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ["se_spec", "se_weights", "se_torch", "se_tf", "se_flax", "se_parity", "se_cli", "se_demo", "parity_tests"]

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Fault:
    file: str
    right: str
    wrong: str
    caught_by: str


EVERY_MODE = "test_logits.py::test_every_mode_gives_the_oracles_logits"
FLOAT64 = "test_logits.py::test_float64_logits_are_the_oracles"
SQUARE = "test_logits.py::test_square_matrices_are_laid_out_right"
TRAINING = "test_models.py::test_a_model_in_training_keeps_torchs_running_statistics"

FAULTS = {
    "Keras's lopsided padding at stride 2": Fault(
        "se_tf/padding.py",
        "return super().call(padded(inputs, self.margins, 0.0))",
        'self.padding = "same"\n        return super().call(inputs)',
        f"{EVERY_MODE}[tf-float64-basic]",
    ),
    "batch norm epsilon of 1e-3": Fault(
        "se_tf/se_resnet.py",
        "epsilon=epsilon",
        "epsilon=1e-3",
        f"{EVERY_MODE}[tf-float32-bottleneck]",
    ),
    "running mean and beta swapped": Fault(
        "se_weights/dialects/flax.py",
        '("bias", "C"),\n    Role.MEAN: ("mean", "C")',
        '("mean", "C"),\n    Role.MEAN: ("bias", "C")',
        f"{EVERY_MODE}[flax-float64-basic]",
    ),
    "kernel height and width swapped": Fault(
        "se_weights/dialects/flax.py",
        '("kernel", "HWIO")',
        '("kernel", "WHIO")',
        f"{EVERY_MODE}[flax-float64-bottleneck]",
    ),
    "a square matrix not transposed": Fault(
        "se_tf/weights.py",
        "variable.assign(array.astype(variable.dtype, copy=False))",
        "variable.assign(array.T if array.shape == array.T.shape and array.ndim == 2 else array)",
        f"{SQUARE}[tf]",
    ),
    "the gate before the last norm": Fault(
        "se_flax/se_resnet.py",
        "self.se(self.act(self.bn2(self.conv2(residual))))",
        "self.bn2(self.act(self.se(self.conv2(residual))))",
        f"{EVERY_MODE}[flax-float64-basic]",
    ),
    "no ReLU in the excitation": Fault(
        "se_torch/se_layer.py",
        "torch.relu(self.fc1(squeezed))",
        "self.fc1(squeezed)",
        "test_se_layer.py::test_a_layer_is_equations_2_to_4[torch-False-(5, 7)]",
    ),
    "momentum of 0.1 read Keras's way": Fault(
        "se_tf/se_resnet.py",
        "momentum=1 - se_spec.BATCH_NORM_MOMENTUM",
        "momentum=se_spec.BATCH_NORM_MOMENTUM",
        f"{TRAINING}[tf]",
    ),
    "a max-pool padded with zeros": Fault(
        "se_tf/padding.py",
        'ops.shape(inputs)), float("-inf")',
        "ops.shape(inputs)), 0.0",
        "test_models.py::test_a_max_pool_keeps_a_negative_map_negative[tf-pad1]",
    ),
    "running statistics not loaded": Fault(
        "se_torch/weights.py",
        "        for parameter in manifest(model.architecture):\n            state",
        "        for parameter in (p for p in manifest(model.architecture) if p.role.learned):\n            state",
        f"{EVERY_MODE}[torch-float64-basic]",
    ),
    "a biased running variance in Keras": Fault(
        "se_tf/batch_norm.py", "(count / ops.maximum(count - 1, 1))", "1.0", f"{TRAINING}[tf]"
    ),
    "a biased running variance in Flax": Fault(
        "se_flax/batch_norm.py", "(count / max(count - 1, 1))", "1.0", f"{TRAINING}[flax]"
    ),
    "views written to safetensors as they lie": Fault(
        "se_weights/files/contents.py",
        "in_order(array).reshape(-1)",
        'np.ravel(array, order="K")',
        "test_conversion.py::test_a_transposed_view_is_written_as_it_reads",
    ),
    "the last values of an axis that takes several pieces not moved": Fault(
        "se_weights/layouts.py",
        "range(0, array.shape[axis], PIECE)",
        "range(0, array.shape[axis] - PIECE // 2, PIECE)",
        "test_conversion.py::test_relayout_moves_every_value_of_arrays_that_take_several_pieces[shape1-float32]",
    ),
    "a file kept without being read back": Fault(
        "se_weights/writing/write.py",
        "        _expect_same(",
        "        _expect_same(stored, stored, path) or (",
        "test_conversion.py::test_a_file_that_reads_back_otherwise_is_not_kept",
    ),
    "the stride in the first 1x1": Fault(
        "se_spec/block.py",
        '{"conv1": 1, "conv2": 1} | {self.stride_in: self.stride}',
        '{"conv1": self.stride, "conv2": 1}',
        "test_spec.py::test_multiply_adds_are_the_published_ones",
    ),
    "reductions taken of the stage's width": Fault(
        "se_spec/architecture.py",
        "squeezed_channels=self._squeezed(out_channels)",
        "squeezed_channels=self._squeezed(width)",
        "test_spec.py::test_parameter_counts_are_the_published_ones[se_resnet50-facts9-28071976]",
    ),
}

FAULTS |= {
    "a mean of 2x2 that counts what is not there": Fault(
        "se_flax/se_resnet.py",
        "count_include_pad=False",
        "count_include_pad=True",
        f"{FLOAT64}[flax-se_resnet18 of PaddleClas]",
    ),
    "no ReLU before the squeeze": Fault(
        "se_flax/se_resnet.py",
        "nnx.relu if block.relu_before_se else identity",
        "identity",
        f"{FLOAT64}[flax-se_resnet18 of timm's legacy]",
    ),
    "a pool without margins that has one": Fault(
        "se_spec/layers.py", '"ceil": 0', '"ceil": 1', "test_spec.py::test_a_pools_sides_are_those_of_its_code_base[55]"
    ),
    "groups left out in Keras": Fault(
        "se_tf/se_resnet.py",
        "groups=convolution.groups",
        "groups=1",
        f"{FLOAT64}[tf-se_resnext50_32x4d of NVIDIA]",
    ),
    "a folded shift that leaves the gain out": Fault(
        "se_weights/transforms/fold.py",
        "- mean) * gain",
        "* gain - mean)",
        "test_folding.py::test_a_folded_network_is_the_same_function[se_resnet50 with another epsilon]",
    ),
    "groups computed together that mix": Fault(
        "se_flax/convolve.py",
        "jnp.eye(together, dtype=kernel.dtype)",
        "jnp.eye(together, dtype=kernel.dtype)[::-1]",
        f"{FLOAT64}[flax-se_resnext50_32x4d of NVIDIA]",
    ),
    "Cadene's networks stride in their 3x3": Fault(
        "se_weights/dialects/cadene.py",
        '"conv1" if plain_bottleneck else "conv2"',
        '"conv2"',
        "test_dialects.py::test_a_dialect_knows_what_its_tensors_do_not_tell[Cadene's 50]",
    ),
    "the first of two fitting dialects is taken": Fault(
        "se_weights/reading/recognition.py",
        "if len(readings) > 1:",
        "if len(readings) > 2:",
        "test_dialects.py::test_pytorchcvs_50_and_50b_are_asked_for_and_told_apart",
    ),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faulty")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def run(folder: Path, *tests: str) -> subprocess.CompletedProcess:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        *(f"parity_tests/{test}" for test in tests),
    ]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_without_a_fault_the_catching_tests_pass(copy):
    ran = run(copy, *sorted({fault.caught_by for fault in FAULTS.values()}))
    assert ran.returncode == 0, ran.stdout[-3000:]


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_caught(copy, name):
    fault = FAULTS[name]
    source = copy / fault.file
    right = source.read_text()
    assert right.count(fault.right) == 1, f"{fault.file} no longer holds the text that the fault replaces"
    source.write_text(right.replace(fault.right, fault.wrong))
    try:
        ran = run(copy, fault.caught_by)
    finally:
        source.write_text(right)
    assert ran.returncode == 1, ran.stdout[-3000:]
    assert "1 failed" in ran.stdout
