"""The examples of fine-tuning, each in its framework; what one writes, the others read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import se_weights
from parity_tests.support.cases import skip_without
from se_parity.inputs.trained_like import trained_like_weights
from se_spec import architecture

EXAMPLES = Path(__file__).parents[2] / "examples" / "fine_tuning"

pytestmark = [pytest.mark.sweep, skip_without("torch"), skip_without("tf"), skip_without("flax")]


def run(script: str, *arguments: str) -> str:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    command = [sys.executable, str(EXAMPLES / script), *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout


@pytest.mark.parametrize("framework", ["torch", "keras", "flax"])
def test_a_network_is_fine_tuned_and_gives_the_same_accuracy_everywhere(framework, tmp_path):
    network = architecture("se_resnet20_cifar", reduction=4, depths=(1, 1, 1), num_classes=100)
    weights, tuned = tmp_path / "weights.safetensors", tmp_path / "tuned.safetensors"
    se_weights.write(se_weights.Checkpoint(network, trained_like_weights(network)), weights)
    accuracy = run(f"finetune_{framework}.py", str(weights), str(tuned), "2").split()[-1]
    assert float(accuracy) > 0.5
    found = dict(line.split() for line in run("accuracy.py", str(tuned)).splitlines() if line.startswith("se_"))
    assert found == dict.fromkeys(("se_torch", "se_tf", "se_flax"), accuracy)
