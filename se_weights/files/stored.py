"""What a file holds, whatever its format: tensors by name, and metadata."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from numpy.typing import NDArray


@dataclass(frozen=True)
class Stored:
    """Tensors by the names they have in the file ("/" joins the levels of a tree), and text metadata."""

    tensors: Mapping[str, NDArray]
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Format:
    """A file format: its suffixes, the families of dialects it can hold (the first dialect of the first is written
    unless another is asked for), the dtypes it can hold, and how it is read and written (None: it is read only).
    `metadata` is written always, or only when needed, where the format's own readers may stumble over it."""

    name: str
    suffixes: tuple[str, ...]
    families: tuple[str, ...]
    dtypes: tuple[str, ...]
    read: Callable[[Path], Stored]
    write: Callable[[Path, Stored], None] | None
    metadata: str = "always"


FLOATS = ("float16", "float32", "float64")
ALL_FLOATS = (*FLOATS, "bfloat16")
