"""The pytest plugin, run on a test file in a folder outside the repository."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from parity_tests.support.cases import skip_without, small_network
from se_weights import write

EXAMPLE = Path(__file__).parents[2] / "examples" / "regression_tests"

TEST = """
import pytest

pytestmark = pytest.mark.parity(frameworks=["torch"], modes=["eager"], dtypes=["float32"], batch=2, size=(33, 26))

def test_ours(parity):
    examination = parity.check("ours.pth")
    assert len(examination.report.runs) == 1
"""


def pytest_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--strict-markers", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def team(tmp_path):
    (tmp_path / "test_ours.py").write_text(TEST)
    write(small_network("basic").checkpoint, tmp_path / "ours.pth")
    return tmp_path


@skip_without("torch")
def test_a_golden_is_written_once_and_compared_afterwards(team):
    ran = pytest_in(team)
    assert ran.returncode == 0, ran.stdout
    assert "no goldens/test_ours-test_ours-1.json to compare with; --parity-update writes it" in ran.stdout
    assert not (team / "goldens").exists()
    ran = pytest_in(team, "--parity-update", "-n1", "--parity-json", "out.json")
    assert ran.returncode == 0, ran.stdout
    assert "test_ours.py::test_ours: wrote goldens/test_ours-test_ours-1.json" in ran.stdout
    assert len(json.loads((team / "out.json").read_text())["reports"]) == 1
    (golden,) = (team / "goldens").iterdir()
    ran = pytest_in(team, "--parity-json", "out.json", "--junit-xml", "out.xml")
    assert ran.returncode == 0, ran.stdout
    (report,) = json.loads((team / "out.json").read_text())["reports"]
    assert report["against"]["moved"][0]["same_bits"]
    assert 'name="torch eager, float32, 2 x 33x26"' in (team / "out.xml").read_text()

    kept = json.loads(golden.read_text())
    kept["runs"][0]["logits"][0][0] += 1e-3
    kept["environments"]["torch eager"]["torch"] = "2.0"
    golden.write_text(json.dumps(kept))
    ran = pytest_in(team)
    assert ran.returncode == 1
    assert "from its golden, after torch 2.0 to" in ran.stdout
    assert "Traceback" not in ran.stdout
    assert pytest_in(team, "--parity-update").returncode == 0
    assert pytest_in(team).returncode == 0


@skip_without("torch")
def test_a_golden_that_is_written_again_keeps_its_runs(team):
    test = team / "test_ours.py"
    test.write_text(TEST.replace('dtypes=["float32"]', 'dtypes=["bfloat16"]'))
    assert pytest_in(team, "--parity-update").returncode == 0
    test.write_text(TEST.replace('dtypes=["float32"], ', ""))
    ran = pytest_in(team, "--parity-update")
    assert ran.returncode == 0, ran.stdout
    (golden,) = (team / "goldens").iterdir()
    assert [run["run"] for run in json.loads(golden.read_text())["runs"]] == ["torch eager, bfloat16, 2 x 33x26"]


@skip_without("torch")
def test_other_weights_are_not_compared_with_a_golden(team):
    assert pytest_in(team, "--parity-update").returncode == 0
    network = small_network("basic")
    weights = {**network.weights, "fc.bias": network.weights["fc.bias"] + 1}
    write(type(network.checkpoint)(network.architecture, weights), team / "ours.pth", force=True)
    ran = pytest_in(team)
    assert ran.returncode == 1
    assert "other weights or images" in ran.stdout
    assert "--parity-update" in ran.stdout
    assert "plugin.py" not in ran.stdout


def test_loading_the_plugin_imports_neither_numpy_nor_a_framework(tmp_path):
    (tmp_path / "test_nothing.py").write_text(
        "import sys\n"
        "def test_nothing():\n"
        "    heavy = {'torch', 'tensorflow', 'keras', 'jax', 'flax', 'numpy', 'se_parity'}\n"
        "    assert 'se_pytest.plugin' in sys.modules\n"
        "    assert not heavy & set(sys.modules)\n"
    )
    ran = pytest_in(tmp_path, "-p", "no:hypothesispytest")
    assert ran.returncode == 0, ran.stdout


@pytest.mark.sweep
@skip_without("torch")
@skip_without("tf")
@skip_without("flax")
@pytest.mark.timeout(900)
def test_the_example_runs_as_its_readme_says(tmp_path):
    team = tmp_path / "team"
    shutil.copytree(EXAMPLE, team, ignore=shutil.ignore_patterns("__pycache__", "goldens"))
    assert pytest_in(team, "--parity-update").returncode == 0
    assert len(list((team / "goldens").iterdir())) == 3
    ran = pytest_in(team)
    assert "3 passed" in ran.stdout, ran.stdout
