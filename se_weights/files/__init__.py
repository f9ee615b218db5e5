"""One file a format. A path's suffix names its format; what the file then holds must agree."""

from pathlib import Path

from se_weights.errors import UnsupportedFormat
from se_weights.files.hdf5 import HDF5
from se_weights.files.keras2 import KERAS2
from se_weights.files.keras_archive import KERAS_ARCHIVE
from se_weights.files.msgpack import MSGPACK
from se_weights.files.npz import NPZ
from se_weights.files.pth import PTH
from se_weights.files.safetensors import SAFETENSORS
from se_weights.files.stored import Format, Stored

FORMATS = (PTH, SAFETENSORS, HDF5, KERAS_ARCHIVE, MSGPACK, NPZ, KERAS2)


def format_of(path: Path) -> Format:
    """The format that the path's suffix names."""
    for known in FORMATS:
        if path.name.lower().endswith(known.suffixes):
            return known
    suffixes = ", ".join(suffix for known in FORMATS for suffix in known.suffixes)
    raise UnsupportedFormat(f"{path} has no suffix that names a format of weights; known: {suffixes}")


__all__ = ["FORMATS", "Format", "Stored", "format_of"]
