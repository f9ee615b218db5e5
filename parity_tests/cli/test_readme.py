"""The examples, commands and tables of the README are correct."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import se_weights
from parity_tests.support import refusals_table
from parity_tests.support.cases import named_network, skip_without
from se_cli.main import COMMANDS
from se_weights.dialects import DIALECTS
from se_weights.files import FORMATS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
EXAMPLES = dict(re.findall(r"```python\n# (PyTorch|Keras 3|Flax NNX)\n(.*?)```", README, re.DOTALL))


@pytest.mark.parametrize(
    "title",
    [
        pytest.param("PyTorch", marks=skip_without("torch")),
        pytest.param("Keras 3", marks=skip_without("tf")),
        pytest.param("Flax NNX", marks=skip_without("flax")),
    ],
)
def test_each_example_runs(title):
    script = EXAMPLES[title] + "\nassert tuple(logits.shape) == (1, 10)\n"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]


def test_the_commands_for_converting_run_as_written(tmp_path):
    se_weights.write(named_network("se_resnet50").checkpoint, tmp_path / "model.pth")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "one.pth").write_bytes((tmp_path / "model.pth").read_bytes())
    commands = [line for line in README.splitlines() if re.match(r"se-resnet (convert|compare|inspect|verify) ", line)]
    assert len(commands) == 9
    for command in commands:
        arguments = command.partition("#")[0].split()[1:]
        ran = subprocess.run(
            [sys.executable, "-m", "se_cli", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, (command, ran.stderr)
        if "same weights" in command:
            assert "same weights: 299 tensors of se_resnet50" in ran.stdout


def test_every_make_command_in_the_docs_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(
        re.findall(r"`make ([a-z]+)`|^make ([a-z]+)", README + (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    )
    assert {"demo", "test"} <= {name for pair in named for name in pair if name} <= targets


def test_the_table_of_formats_matches_the_program():
    for known in FORMATS:
        row = next(line for line in README.splitlines() if line.startswith(f"| `{known.suffixes[0]}`"))
        assert row.rstrip(" |").rpartition("| ")[2].split(", ") == list(known.families)
        assert all(f"`{suffix}`" in row for suffix in known.suffixes)


def test_the_table_of_dialects_matches_the_program():
    table = README.partition("| dialect |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|", table, re.MULTILINE)
    assert rows == list(DIALECTS)


def test_the_page_of_refusals_is_up_to_date():
    assert refusals_table.PAGE.read_text() == refusals_table.page(), "run python -m parity_tests.support.refusals_table"


def test_the_program_has_the_commands_of_the_design():
    assert set(COMMANDS) == {"list", "inspect", "identify", "convert", "compare", "verify", "parity", "demo"}
