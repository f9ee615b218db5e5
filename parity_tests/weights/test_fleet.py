"""The examples that distribute a batch, run on this machine; `nox -s ray` has Ray."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import se_weights
from parity_tests.support.cases import small_network

FLEET = Path(__file__).parents[2] / "examples" / "fleet"
COUNT = 9


@pytest.fixture
def checkpoints(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for number in range(COUNT):
        se_weights.write(small_network().checkpoint, folder / f"run{number}.pth")
    (folder / "broken.pth").write_bytes(b"PK\3\4")
    return folder


def expect_all(converted):
    results = [json.loads(line) for path in converted.glob("results-*.jsonl") for line in path.read_text().splitlines()]
    assert len(results) == COUNT + 1
    assert [Path(result["source"]).name for result in results if result["status"]] == ["broken.pth"]
    for number in range(COUNT):
        path = converted / f"run{number}.safetensors"
        assert se_weights.weights_sha256(se_weights.read(path).weights) == small_network().checkpoint.weights_sha256
        assert (converted / f"run{number}.safetensors.manifest.json").exists()


def test_the_tasks_of_a_slurm_array_convert_every_file_once(tmp_path, checkpoints):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    statuses = []
    for task in (1, 2, 3, 2):  # the second is requeued
        slurm = {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_CPUS_PER_TASK": "2"}
        command = [FLEET / "slurm_array.sh", checkpoints, tmp_path / "converted"]
        statuses.append(subprocess.run(command, env={**os.environ, **slurm, "PATH": path}, check=False).returncode)
    assert set(statuses) == {0, 3}
    expect_all(tmp_path / "converted")


@pytest.mark.skipif(not find_spec("ray"), reason="ray is not installed here: nox -s ray")
@pytest.mark.filterwarnings("ignore")
def test_a_ray_cluster_converts_every_file_once(tmp_path, checkpoints):
    command = [sys.executable, FLEET / "ray_batch.py", checkpoints, tmp_path / "converted", "3"]
    environment = {**os.environ, "RAY_DISABLE_IMPORT_WARNING": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=200)
    assert done.returncode == 3, done.stderr
    expect_all(tmp_path / "converted")
