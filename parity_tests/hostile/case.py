"""A hostile case: one untrusted file, and how its conversion must end."""

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
class ValidFiles:
    """Valid files of one network, one a format, which the cases change. Each is written when it is first requested.

    Attributes:
        folder: Where they are kept.
        network: The network whose weights they contain.
        locks: A lock for each file, since cases run in threads.
    """

    folder: Path
    network: Network = field(default_factory=small_network)
    locks: defaultdict[str, Lock] = field(default_factory=lambda: defaultdict(Lock))

    @property
    def weights(self) -> dict[str, NDArray]:
        return dict(self.network.weights)

    def cached(self, name: str, make: Callable[[Path], None]) -> Path:
        """Path of the file or folder of this name, which `make` writes once."""
        path = self.folder / name
        with self.locks[name]:
            if not path.exists():
                make(path)
        return path

    def path(self, suffix: str) -> Path:
        return self.cached(f"valid{suffix}", lambda path: se_weights.write(self.network.checkpoint, path))

    def content(self, suffix: str) -> bytes:
        return self.path(suffix).read_bytes()

    def copy(self, suffix: str, folder: Path) -> Path:
        return Path(shutil.copy(self.path(suffix), folder / f"weights{suffix}"))


Make = Callable[[Path, ValidFiles], Path | list[str]]
"""Writes the files of a case into an empty folder; returns the path to be converted, or else the command to be run."""


@dataclass(frozen=True)
class Case:
    """An untrusted file and the expected end of its conversion.

    Attributes:
        number: Number in research/ecosystem.md, section 3.5, with a letter where there are several cases.
        title: What is special about the file.
        make: Writes the file.
        status: Exit status.
        id: Refusal id; None where the file is accepted or the command is interrupted.
        says: Text that the error message contains, in addition to the name of the file.
        target: Suffix of the target.
        made_with: Package that is needed to write the file: "torch", "keras" or "orbax".
        weights: Weights that the target must contain, where the status is 0.
    """

    number: str
    title: str
    make: Make
    status: int
    id: str | None
    says: str = ""
    target: str = ".safetensors"
    made_with: str = ""
    weights: Callable[[ValidFiles], Weights] = lambda valid: valid.weights


def accepted(number: str, title: str, make: Make, **more: object) -> Case:
    """A case whose file is converted."""
    return Case(number, title, make, 0, None, **more)


def convert(source: Path | str, target: Path | str = "target.safetensors", *options: str) -> list[str]:
    """The command that converts a file in the folder of the case."""
    return [sys.executable, "-m", "se_cli", "convert", str(source), str(target), "--json", *options]


def file_with(name: str, content: bytes | Callable[[ValidFiles], bytes]) -> Make:
    """A file of this name and content."""

    def make(folder: Path, valid: ValidFiles) -> Path:
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content(valid))
        return path

    return make


def corrupted(suffix: str, change: Callable[[bytes], bytes], name: str = "") -> Make:
    """The valid file of a format with `change` applied to its bytes."""
    return file_with(name or f"weights{suffix}", lambda valid: change(valid.content(suffix)))
