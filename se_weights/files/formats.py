"""The table of file formats. The module that reads and writes a format is imported when a file of it is opened."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from se_weights.files.contents import FileContents


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        name: Its name in messages.
        suffixes: The file suffixes that mean this format.
        frameworks: Those whose dialects it can hold; the first dialect of the first is written by default.
        dtypes: The types that it can hold.
        module: The module in se_weights.files that opens it (`open_contents(path)`), writes it (`write(path,
            contents)`, unless it is `read_only`), and, if there is a faster way, opens what this process has just
            written (`reopen_contents(path)`). `open`, `write` and `reopen` document the arguments.
        signatures: The signatures that a file may begin with (se_weights/files/signatures.py), if any are known.
        folder: Whether it is written as a folder.
        read_only: Whether it cannot be written.
        shards: The suffix of the files that an index of this format names, if it is an index.
        metadata: "always" if our metadata are always written; "when needed" if other readers might reject them.
    """

    name: str
    suffixes: tuple[str, ...]
    frameworks: tuple[str, ...]
    dtypes: tuple[str, ...]
    module: str
    signatures: tuple[str, ...] = ()
    folder: bool = False
    read_only: bool = False
    metadata: str = "always"
    shards: str = ""

    def open(self, path: Path) -> AbstractContextManager[FileContents]:
        """Opens a file.

        Args:
            path: The file or folder.

        Returns:
            A context manager for the contents. The tensors can be loaded until it is closed.

        Raises:
            WeightsError: The file is damaged, unsafe or of another format.
        """
        return self._module.open_contents(path)

    def reopen(self, path: Path) -> AbstractContextManager[FileContents]:
        """Opens a file that this process has just written.

        Args:
            path: The file or folder.

        Returns:
            A context manager, as `open` returns it.
        """
        return getattr(self._module, "reopen_contents", self._module.open_contents)(path)

    def write(self, path: Path, contents: FileContents, **options: Any) -> None:
        """Writes a file or folder.

        Args:
            path: The file or folder to write.
            contents: The tensors, of types in `dtypes`, and the metadata.
            **options: The options of the format's `write`, such as the shard size of a Hugging Face folder.
        """
        self._module.write(path, contents, **options)

    @property
    def path(self) -> str:
        """The full name of its module."""
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
    ("torch", "flax"),
    ALL_FLOATS,
    "torch.pth",
    signatures=("zip", "pickle"),
)
SAFETENSORS = Format(
    "safetensors", (".safetensors",), ANY, ALL_FLOATS, "safetensors.single_file", signatures=("safetensors",)
)
HDF5 = Format("Keras weights", (".weights.h5",), ("keras",), ALL_FLOATS, "keras.weights_h5", signatures=("HDF5",))
KERAS_ARCHIVE = Format("Keras archive", (".keras",), ("keras",), ALL_FLOATS, "keras.archive", signatures=("zip",))
SHARDED_SAFETENSORS = Format(
    "sharded safetensors",
    (".safetensors.index.json",),
    ANY,
    ALL_FLOATS,
    "sharded",
    read_only=True,
    shards=".safetensors",
)
SHARDED_PTH = Format(
    "sharded torch", (".bin.index.json",), ("torch",), ALL_FLOATS, "sharded", read_only=True, shards=".bin"
)
SHARDED_HDF5 = Format(
    "sharded Keras weights",
    (".weights.json",),
    ("keras",),
    ALL_FLOATS,
    "sharded",
    read_only=True,
    shards=".weights.h5",
)
MSGPACK = Format("flax msgpack", (".msgpack",), ("flax",), ALL_FLOATS, "msgpack.flax_state", metadata="when needed")
NPZ = Format("npz", (".npz",), ANY, FLOATS, "npz", signatures=("zip",))
KERAS2 = Format(
    "Keras .h5", (".h5", ".hdf5"), ("keras2",), FLOATS, "keras.keras2_h5", signatures=("HDF5",), read_only=True
)
HUGGINGFACE = Format("Hugging Face folder", (".hf",), ANY, ALL_FLOATS, "safetensors.huggingface", folder=True)
ORBAX = Format("Orbax", (".orbax",), ("flax",), ALL_FLOATS, "orbax.checkpoint", folder=True)
DCP_SAFETENSORS = Format(
    "torch DCP in safetensors", (), ("torch",), ALL_FLOATS, "torch.dcp_safetensors", folder=True, read_only=True
)
DCP_FILESYSTEM = Format("torch DCP", (), ("torch",), ALL_FLOATS, "torch.dcp_filesystem", folder=True, read_only=True)

FORMATS = (
    PTH,
    SHARDED_SAFETENSORS,
    SHARDED_PTH,
    SHARDED_HDF5,
    SAFETENSORS,
    HDF5,
    KERAS_ARCHIVE,
    MSGPACK,
    NPZ,
    KERAS2,
    HUGGINGFACE,
    ORBAX,
)
"""The formats with suffixes, in the order in which these are compared: longer suffixes come first."""
