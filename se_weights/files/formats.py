"""The formats: what each is called, holds and begins with. What reads and writes one is imported when a file is met."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from se_weights.files.stored import FileContents


@dataclass(frozen=True)
class Format:
    """A file format: its suffixes, the families of dialects it can hold (the first dialect of the first is written
    unless another is asked for), the dtypes it can hold, and the module here that opens it with `open_contents`, writes
    it with `write` unless it is `read_only`, and opens what this process has just written with `reopen_contents`, where
    that is quicker.

    `signatures` are what the content may begin with, where that is known. A format that is a `folder` is written as
    one. `metadata` is written always, or only when needed, where the format's own readers may stumble over it."""

    name: str
    suffixes: tuple[str, ...]
    families: tuple[str, ...]
    dtypes: tuple[str, ...]
    module: str
    signatures: tuple[str, ...] = ()
    folder: bool = False
    read_only: bool = False
    metadata: str = "always"

    def open(self, path: Path) -> AbstractContextManager[FileContents]:
        """What a file declares; its values can be loaded until it is closed."""
        return self._module.open_contents(path)

    def reopen(self, path: Path) -> AbstractContextManager[FileContents]:
        """The same for what this process has just written."""
        return getattr(self._module, "reopen_contents", self._module.open_contents)(path)

    def write(self, path: Path, stored: FileContents, **options: Any) -> None:
        self._module.write(path, stored, **options)

    @property
    def path(self) -> str:
        """Where its module is."""
        return f"se_weights.files.{self.module}"

    @property
    def _module(self) -> ModuleType:
        return import_module(self.path)


FLOATS = ("float16", "float32", "float64")
ALL_FLOATS = (*FLOATS, "bfloat16")

ANY = ("torch", "keras", "keras2", "flax")

PTH = Format(
    "torch",
    (".pth", ".pt", ".pkl", ".pth.tar", ".bin"),
    ("torch",),
    ALL_FLOATS,
    "torch.pth",
    signatures=("zip", "pickle"),
)
SHARDS = Format(
    "sharded safetensors", (".safetensors.index.json",), ANY, ALL_FLOATS, "safetensors.sharded", read_only=True
)
SAFETENSORS = Format(
    "safetensors", (".safetensors",), ANY, ALL_FLOATS, "safetensors.single_file", signatures=("safetensors",)
)
HDF5 = Format("Keras weights", (".weights.h5",), ("keras",), ALL_FLOATS, "keras.weights_h5", signatures=("HDF5",))
KERAS_ARCHIVE = Format("Keras archive", (".keras",), ("keras",), ALL_FLOATS, "keras.archive", signatures=("zip",))
MSGPACK = Format("flax msgpack", (".msgpack",), ("flax",), ALL_FLOATS, "msgpack.flax_state", metadata="when needed")
NPZ = Format("npz", (".npz",), ANY, FLOATS, "npz", signatures=("zip",))
KERAS2 = Format(
    "Keras 2 weights", (".h5", ".hdf5"), ("keras2",), FLOATS, "keras.keras2_h5", signatures=("HDF5",), read_only=True
)
HUGGINGFACE = Format("Hugging Face folder", (".hf",), ANY, ALL_FLOATS, "safetensors.huggingface", folder=True)
ORBAX = Format("Orbax", (".orbax",), ("flax",), ALL_FLOATS, "orbax.checkpoint", folder=True)
TORCH_DCP = Format("torch DCP", (), ("torch",), ALL_FLOATS, "torch.torch_dcp", folder=True, read_only=True)

FORMATS = (PTH, SHARDS, SAFETENSORS, HDF5, KERAS_ARCHIVE, MSGPACK, NPZ, KERAS2, HUGGINGFACE, ORBAX)
"""Those that a suffix names, in the order in which suffixes are compared: longer ones come first."""
