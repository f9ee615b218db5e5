"""The examples, commands and tables of the README are correct."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import se_spec
import se_weights
from parity_tests.support import checkpoints_table, refusals_table
from parity_tests.support.cases import named_network, skip_without
from se_cli.main import COMMANDS
from se_parity import trained_like_weights
from se_weights import Checkpoint
from se_weights.dialects import DIALECTS
from se_weights.files import FORMATS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
EXAMPLES = dict(re.findall(r"```python\n# (.*)\n([^`]*)```", README))
FRAMEWORKS = [
    pytest.param("PyTorch", "torch", marks=skip_without("torch")),
    pytest.param("Keras 3", "tf", marks=skip_without("tf")),
    pytest.param("Flax NNX", "flax", marks=skip_without("flax")),
]


def run_python(script: str, folder: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]


@pytest.mark.parametrize(("title", "framework"), FRAMEWORKS)
def test_each_example_runs(tmp_path, title, framework):
    run_python(EXAMPLES[title] + "\nassert tuple(logits.shape) == (1, 10)\n", tmp_path)


@pytest.mark.parametrize(("title", "framework"), FRAMEWORKS)
def test_each_example_of_loading_gives_the_weights_of_the_file(tmp_path, title, framework):
    (example,) = [text for name, text in EXAMPLES.items() if name.startswith(f"{title}: load ")]
    (file,) = {"model.pth", "model.weights.h5", "model.msgpack"} & set(re.findall(r'"([\w.]+)"', example))
    architecture = se_spec.architecture("se_resnet18", se_bias=True, squeeze="round8")
    checkpoint = Checkpoint(architecture, trained_like_weights(architecture))
    se_weights.write(checkpoint, tmp_path / "timm.pth", dialect="timm")
    converted = se_weights.convert(tmp_path / "timm.pth", tmp_path / file)
    assert se_spec.create_model_call(converted.architecture) in example
    run_python(
        f"{example}\nimport se_{framework}, se_weights\nweights = se_{framework}.read_weights(model)\n"
        f"assert se_weights.weights_sha256(weights) == {converted.weights_sha256!r}\n",
        tmp_path,
    )


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
        assert row.rstrip(" |").rpartition("| ")[2].split(", ") == list(known.frameworks)
        assert all(f"`{suffix}`" in row for suffix in known.suffixes)


def test_the_table_of_dialects_matches_the_program():
    table = README.partition("| dialect |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|", table, re.MULTILINE)
    assert rows == list(DIALECTS)


def test_the_page_of_refusals_is_up_to_date():
    assert refusals_table.PAGE.read_text() == refusals_table.page(), "run python -m parity_tests.support.refusals_table"


def test_the_page_of_checkpoints_is_up_to_date():
    assert checkpoints_table.PAGE.read_text() == checkpoints_table.page(), (
        "python -m parity_tests.support.checkpoints_table"
    )


def test_the_program_has_the_commands_of_the_design():
    first = {"list", "inspect", "identify", "convert", "compare", "verify", "parity", "demo"}
    assert set(COMMANDS) == first | {"download", "predict"}
