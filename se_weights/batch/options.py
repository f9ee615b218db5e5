"""How the items of a batch are converted."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from se_weights.checkpoint import Checkpoint
from se_weights.errors import UnsupportedFormat
from se_weights.files import format_of
from se_weights.transforms.cast import cast_to
from se_weights.transforms.fold import fold_batchnorm
from se_weights.transforms.reorder import rgb_input, standard_classes

Change = Callable[[Checkpoint], Checkpoint]


@dataclass(frozen=True)
class Options:
    """How every item is converted; `suffix` names the format to write."""

    suffix: str = ".safetensors"
    dialect: str | None = None
    source_dialect: str | None = None
    architecture: str | None = None
    dtype: str | None = None
    rgb_input: bool = False
    standard_classes: bool = False
    fold_batchnorm: bool = False
    manifest: bool = False
    force: bool = False

    @property
    def changes(self) -> list[Change]:
        asked: list[tuple[bool, Change]] = [
            (self.rgb_input, rgb_input),
            (self.standard_classes, standard_classes),
            (self.fold_batchnorm, fold_batchnorm),
        ]
        return [change for wanted, change in asked if wanted] + ([cast_to(self.dtype)] if self.dtype else [])

    @property
    def digest(self) -> str:
        """What must be the same for an item that is done to count as done."""
        facts = {key: value for key, value in asdict(self).items() if key != "force"}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def expect_writable(suffix: str) -> None:
    """Raise UnsupportedFormat where no format of this suffix can be written."""
    if format_of(Path(f"x{suffix}")).read_only:
        raise UnsupportedFormat(f"{suffix} files are read only")
