"""What a case is: one file as a stranger may send it, and what must become of it."""

import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from numpy.typing import NDArray

import se_weights
from parity_tests.support.cases import Network, small_network

Weights = Mapping[str, NDArray]


@dataclass(frozen=True)
class Good:
    """A whole file of each format, all of one network; each is made when it is first asked for, and then spoilt."""

    folder: Path
    network: Network = field(default_factory=small_network)
    locks: defaultdict[str, Lock] = field(default_factory=lambda: defaultdict(Lock))

    @property
    def weights(self) -> dict[str, NDArray]:
        return dict(self.network.weights)

    def made(self, name: str, make: Callable[[Path], None]) -> Path:
        """The file or folder of this name, made once."""
        path = self.folder / name
        with self.locks[name]:
            if not path.exists():
                make(path)
        return path

    def path(self, suffix: str) -> Path:
        return self.made(f"good{suffix}", lambda path: se_weights.write(self.network.checkpoint, path))

    def content(self, suffix: str) -> bytes:
        return self.path(suffix).read_bytes()

    def copy(self, suffix: str, folder: Path) -> Path:
        return Path(shutil.copy(self.path(suffix), folder / f"weights{suffix}"))


Make = Callable[[Path, Good], Path | list[str]]
"""Makes a case in an empty folder: the file to be converted, or the whole command where it is no ordinary one."""


@dataclass(frozen=True)
class Case:
    """`number` is that of research/ecosystem.md, section 3.5, and a letter where it has variants.

    The conversion ends with `status` and, where it is not 0, with the error `id` and a message that names the file and
    has `says` in it. Where it is 0, the target holds `weights`. `needs` is a framework that makes the file.
    """

    number: str
    title: str
    make: Make
    status: int
    id: str | None
    says: str = ""
    target: str = ".safetensors"
    needs: str = ""
    weights: Callable[[Good], Weights] = lambda good: good.weights


def accepted(number: str, title: str, make: Make, **more: object) -> Case:
    return Case(number, title, make, 0, None, **more)


def convert(source: Path | str, target: Path | str = "target.safetensors", *options: str) -> list[str]:
    """The command, run in the case's folder."""
    return [sys.executable, "-m", "se_cli", "convert", str(source), str(target), "--json", *options]


def scripted(script: str, command: list[str]) -> list[str]:
    """A shell that has the command as "$@"."""
    return ["bash", "-c", script, "bash", *command]


def saved(name: str, content: bytes | Callable[[Good], bytes]) -> Make:
    """A file of this name and content."""

    def make(folder: Path, good: Good) -> Path:
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content(good))
        return path

    return make


def spoilt(suffix: str, change: Callable[[bytes], bytes], name: str = "") -> Make:
    """The good file of a format with its bytes changed."""
    return saved(name or f"weights{suffix}", lambda good: change(good.content(suffix)))
