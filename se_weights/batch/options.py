"""The options of a batch, which are the same for all its items."""

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
    """How every item is converted; see `se_weights.convert`.

    Attributes:
        suffix: The suffix of the targets, which names the format.
        dialect: The dialect to write, or to read where a source matches several.
        source_dialect: The dialect to read; recognised from the tensors if None.
        architecture: The name of the architecture; inferred from the tensors if None.
        prefix: The prefix of the network in files that contain several, or None.
        dtype: The dtype to cast the weights to, or None.
        rgb_input: Whether to change the input channels from BGR to RGB.
        standard_classes: Whether to change the classes from Caffe's order to the standard one.
        fold_batchnorm: Whether to fold the batch norms into the convolutions.
        manifest: Whether to write a conversion record next to each target.
        force: Whether to overwrite targets that already exist.
    """

    suffix: str = ".safetensors"
    dialect: str | None = None
    source_dialect: str | None = None
    architecture: str | None = None
    prefix: str | None = None
    dtype: str | None = None
    rgb_input: bool = False
    standard_classes: bool = False
    fold_batchnorm: bool = False
    manifest: bool = False
    force: bool = False

    @property
    def changes(self) -> list[Change]:
        """The `changes` for `se_weights.convert`."""
        optional: list[tuple[bool, Change]] = [
            (self.rgb_input, rgb_input),
            (self.standard_classes, standard_classes),
            (self.fold_batchnorm, fold_batchnorm),
        ]
        return [change for enabled, change in optional if enabled] + ([cast_to(self.dtype)] if self.dtype else [])

    @property
    def digest(self) -> str:
        """A hash of all options except `force`. An item is converted again if it was finished with another digest."""
        options = {key: value for key, value in asdict(self).items() if key != "force"}
        return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:16]


def expect_writable(suffix: str) -> None:
    """Raise UnsupportedFormat if files with this suffix cannot be written."""
    if format_of(Path(f"x{suffix}")).read_only:
        raise UnsupportedFormat(f"{suffix} files can only be read")
