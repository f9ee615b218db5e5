"""Fixtures that run the peers in separate processes and environments; `nox -s peers` passes their interpreters."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    for framework in ("torch", "keras"):
        parser.addoption(f"--{framework}-peers", help=f"the Python that has the {framework} peers installed")


class Peers:
    """A process that builds models with the code of the peers; it reads one request a line."""

    def __init__(self, python: str, script: str, log: Path) -> None:
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                [python, HERE / script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self.log = log

    def make(self, **request: str) -> None:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline() or '{"error": "it ended"}')
        assert "error" not in answer, f"{answer['error']}\n{self.log.read_text()[-2000:]}"

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            pipe.close()


def _peers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, framework: str) -> Iterator[Peers]:
    python = request.config.getoption(f"--{framework}-peers")
    if not python:
        pytest.skip(f"the {framework} peers need a separate environment: nox -s {framework}_peers")
    peers = Peers(python, f"{framework}_peers.py", tmp_path_factory.mktemp(framework) / "log.txt")
    yield peers
    peers.close()


@pytest.fixture(scope="session")
def torch_peers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    yield from _peers(request, tmp_path_factory, "torch")


@pytest.fixture(scope="session")
def keras_peers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    yield from _peers(request, tmp_path_factory, "keras")
