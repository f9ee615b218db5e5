"""Runs the examples of the documentation: `pytest -p parity_tests.support.documentation README.md docs`.

Python blocks of a page share their names. Each line of a `sh` block is a command, and so is each line after `$` in a
`console` block, whose other lines are what it must print; `...` stands for anything. An example that cannot be run
here is preceded by `<!-- skip: next "reason" -->`.
"""

import doctest
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

import se_spec
import se_weights
from parity_tests.support.loopback_hub import LoopbackHub
from se_parity import Oracle, sample_images, trained_like_weights
from se_weights import Checkpoint


def write_files(folder: Path) -> None:
    """Write the files that the examples name: timm's `seresnet18`, a file that two dialects match, and a photo."""
    se_weights.write(_checkpoint("se_resnet18", squeeze="round8", se_bias=True), folder / "model.pth", dialect="timm")
    ambiguous = _checkpoint("se_resnet50", widths=(8, 12, 16, 20), se_bias=True, stride_in="conv1", num_classes=10)
    se_weights.write(ambiguous, folder / "seresnet50.pth", dialect="pytorchcv")
    images = sample_images(ambiguous.architecture, 2, 64, 49)
    logits = Oracle(ambiguous.architecture, ambiguous.weights).logits(images)
    np.savez(folder / "outputs.npz", images=images, logits=logits)
    (folder / "checkpoints").mkdir()
    se_weights.write(_checkpoint("se_resnet20_cifar"), folder / "checkpoints" / "one.pth")
    Image.fromarray(load_sample_image("china.jpg")).save(folder / "photo.jpg")


def _checkpoint(name: str, **settings: Any) -> Checkpoint:
    architecture = se_spec.architecture(name, **settings)
    return Checkpoint(architecture, trained_like_weights(architecture))


@cache
def hub() -> LoopbackHub:
    """A hub on this machine with the weights that the examples name, which stays until the process ends."""
    server = LoopbackHub().__enter__()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        se_weights.write(_checkpoint("se_resnet50", se_bias=True), path, dialect="timm")
        server.repositories["timm/seresnet50.a1_in1k"] = {"main": {path.name: path.read_bytes()}}
    return server


def set_up(namespace: dict[str, Any]) -> None:
    """Enter an empty folder with the files that the examples name."""
    namespace["folder"] = folder = TemporaryDirectory()
    namespace["left"] = Path.cwd()
    root = Path(folder.name)
    os.environ |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HF_ENDPOINT": hub().address,
        "HF_HOME": str(root / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "SE_RESNET_CACHE": str(root / "cache"),
        "no_proxy": "*",
    }
    write_files(root)
    os.chdir(root)


def tear_down(namespace: dict[str, Any]) -> None:
    os.chdir(namespace["left"])
    namespace["folder"].cleanup()


def run_commands(example: Example) -> None:
    """Each line is a command that must succeed."""
    for line in str(example.parsed).splitlines():
        _output(line)


def run_session(example: Example) -> str | None:
    """Each line after `$` is a command, and the lines after it are what it must print."""
    checker = doctest.OutputChecker()
    for part in str(example.parsed).removeprefix("$ ").split("\n$ "):
        command, _, expected = part.partition("\n")
        printed = _output(command)
        if not checker.check_output(expected, printed, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE):
            return f"{command}\nprinted\n{printed}\nand not\n{expected}"
    return None


def _output(command: str) -> str:
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{command}\n{ran.stderr[-3000:]}"
    return ran.stdout


pytest_collect_file = Sybil(
    parsers=[
        PythonCodeBlockParser(),
        CodeBlockParser("sh", run_commands),
        CodeBlockParser("console", run_session),
        SkipParser(),
    ],
    path=str(Path(__file__).parents[2]),
    pattern="*.md",
    setup=set_up,
    teardown=tear_down,
).pytest()
