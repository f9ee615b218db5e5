"""Tests the test suite: a fault planted in a copy of the sources must fail the test that is named for it.

The faults are planted one at a time by `make faults`; that each can be planted is tested by `make test` too.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = [
    *("se_resnet", "se_spec", "se_weights", "se_torch", "se_tf", "se_flax", "se_parity", "se_cli", "se_demo"),
    "parity_tests",
]

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Fault:
    """A change of the sources that a test must catch.

    Attributes:
        file: The source file, relative to the root.
        right: Text in it, which occurs once.
        wrong: What the text is replaced by.
        caught_by: The test that must fail, relative to parity_tests.
    """

    file: str
    right: str
    wrong: str
    caught_by: str


EVERY_MODE = "parity/test_logits.py::test_every_mode_gives_the_reference_logits"
FLOAT64 = "parity/test_logits.py::test_float64_logits_match_the_reference"
SQUARE = "parity/test_logits.py::test_square_matrices_are_not_transposed"
TRAINING = "models/test_models.py::test_training_mode_updates_running_statistics_as_torch_does"

FAULTS = {
    "Keras's lopsided padding at stride 2": Fault(
        "se_tf/layers.py",
        "return super().call(padded(inputs, self.explicit_padding, 0.0))",
        'self.padding = "same"\n        return super().call(inputs)',
        f"{EVERY_MODE}[tf-float64-basic]",
    ),
    "batch norm epsilon of 1e-3": Fault(
        "se_tf/layers.py",
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
        "residual = self.bn1(residual) if self.shared_norm else self.bn2(residual)\n"
        "        residual = self.drop_path(self.se(self.act(residual)))",
        "residual = self.bn2(self.act(self.se(residual)))",
        f"{EVERY_MODE}[flax-float64-basic]",
    ),
    "no ReLU in the excitation": Fault(
        "se_torch/se_layer.py",
        "torch.relu(self.fc1(squeezed))",
        "self.fc1(squeezed)",
        "models/test_se_layer.py::test_an_se_layer_computes_equations_2_to_4[torch-False-(5, 7)]",
    ),
    "momentum of 0.1 taken as Keras defines momentum": Fault(
        "se_tf/layers.py",
        "momentum=1 - se_spec.BATCH_NORM_MOMENTUM",
        "momentum=se_spec.BATCH_NORM_MOMENTUM",
        f"{TRAINING}[tf]",
    ),
    "a max-pool padded with zeros": Fault(
        "se_tf/layers.py",
        'padding, float("-inf")',
        "padding, 0.0",
        "models/test_models.py::test_a_max_pool_of_negative_values_stays_negative[tf-pad1]",
    ),
    "running statistics not loaded": Fault(
        "se_torch/weights.py",
        "        for parameter in manifest(model.architecture):\n            _assign",
        "        for parameter in (p for p in manifest(model.architecture) if p.role.learned):\n            _assign",
        f"{EVERY_MODE}[torch-float64-basic]",
    ),
    "a biased running variance in Keras": Fault(
        "se_tf/layers.py", "(count / ops.maximum(count - 1, 1))", "1.0", f"{TRAINING}[tf]"
    ),
    "a biased running variance in Flax": Fault(
        "se_flax/layers.py", "(count / max(count - 1, 1))", "1.0", f"{TRAINING}[flax]"
    ),
    "views written to safetensors in memory order": Fault(
        "se_weights/files/contents.py",
        "contiguous(array).reshape(-1)",
        'np.ravel(array, order="K")',
        "weights/test_conversion.py::test_a_transposed_view_is_written_in_logical_order",
    ),
    "the last values of an axis longer than a chunk not moved": Fault(
        "se_weights/layouts.py",
        "range(0, array.shape[axis], CHUNK)",
        "range(0, array.shape[axis] - CHUNK // 2, CHUNK)",
        "weights/test_conversion.py::test_relayout_moves_every_value_of_arrays_longer_than_a_chunk[shape1-float32]",
    ),
    "a file renamed without being read back": Fault(
        "se_weights/writing/write.py",
        "        _expect_same(",
        "        _expect_same(contents, contents, path) or (",
        "weights/test_conversion.py::test_a_file_that_reads_back_differently_is_not_kept",
    ),
    "the stride in the first 1x1": Fault(
        "se_spec/families/se_resnet/block.py",
        '{"conv1": 1, "conv2": 1} | {self.stride_in: stride}',
        '{"conv1": stride, "conv2": 1}',
        "spec/test_spec.py::test_multiply_adds_are_the_published_ones",
    ),
    "squeezed channels computed from the width of the stage": Fault(
        "se_spec/families/se_resnet/architecture.py",
        "squeezed_channels=self._squeezed(out_channels)",
        "squeezed_channels=self._squeezed(width)",
        "spec/test_spec.py::test_parameter_counts_are_the_published_ones[se_resnet50-settings9-28071976]",
    ),
}

FAULTS |= {
    "a 2x2 average pool that counts its padding": Fault(
        "se_flax/layers.py",
        "count_include_pad=False",
        "count_include_pad=True",
        f"{FLOAT64}[se_resnet18 of PaddleClas-flax]",
    ),
    "no ReLU before the squeeze": Fault(
        "se_flax/layers.py",
        "rectified if applied else identity",
        "identity",
        f"{FLOAT64}[se_resnet18 of timm's legacy-flax]",
    ),
    "a max-pool without padding that gets padding": Fault(
        "se_spec/layers.py",
        '"ceil": 0',
        '"ceil": 1',
        "spec/test_spec.py::test_max_pool_output_sizes_are_those_of_each_code_base[55]",
    ),
    "groups ignored in Keras": Fault(
        "se_tf/layers.py",
        "groups=spec.groups",
        "groups=1",
        f"{FLOAT64}[se_resnext50_32x4d of NVIDIA-tf]",
    ),
    "a folded bias whose mean is not multiplied by the gain": Fault(
        "se_weights/transforms/fold.py",
        "- mean) * gain",
        "* gain - mean)",
        "weights/test_folding.py::test_a_folded_network_gives_the_same_logits[se_resnet50 with another epsilon]",
    ),
    "merged groups that mix": Fault(
        "se_flax/convolve.py",
        "jnp.eye(merged, dtype=kernel.dtype)",
        "jnp.eye(merged, dtype=kernel.dtype)[::-1]",
        f"{FLOAT64}[se_resnext50_32x4d of NVIDIA-flax]",
    ),
    "the stride of Cadene's bottlenecks in their 3x3": Fault(
        "se_weights/dialects/cadene.py",
        '"conv1" if plain_bottleneck else "conv2"',
        '"conv2"',
        "weights/test_dialects.py::test_a_dialect_has_the_hidden_config_of_its_code_base[Cadene's 50]",
    ),
    "the first of two matching dialects is chosen": Fault(
        "se_weights/reading/recognition.py",
        "if len(matches) > 1:",
        "if len(matches) > 2:",
        "weights/test_dialects.py::test_pytorchcvs_seresnet50_and_50b_are_ambiguous_until_a_dialect_is_chosen",
    ),
}


class FaultyCopy:
    """A copy of the sources, and a process that runs tests on it as it is at that moment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for package in PACKAGES:
            shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "parity_tests.faults.fresh_pytest"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, *tests: str) -> dict[str, Any]:
        """pytest's exit status and output of these tests."""
        print(json.dumps([f"parity_tests/{test}" for test in tests]), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    copy = FaultyCopy(tmp_path_factory.mktemp("faulty"))
    yield copy
    copy.close()


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_can_be_planted(name):
    fault = FAULTS[name]
    assert (ROOT / fault.file).read_text().count(fault.right) == 1, f"{fault.file} no longer holds the right text once"


@pytest.mark.faults
def test_the_named_tests_pass_without_a_fault(copy):
    done = copy.run(*sorted({fault.caught_by for fault in FAULTS.values()}))
    assert done["status"] == 0, done["output"][-3000:]


@pytest.mark.faults
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_caught(copy, name):
    fault = FAULTS[name]
    source = copy.folder / fault.file
    right = source.read_text()
    source.write_text(right.replace(fault.right, fault.wrong))
    try:
        done = copy.run(fault.caught_by)
    finally:
        source.write_text(right)
    assert done["status"] == 1, done["output"][-3000:]
    assert "1 failed" in done["output"]
