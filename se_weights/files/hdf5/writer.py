"""Writes tensors as the datasets of an HDF5 file."""

import json
import os
from io import BufferedRandom
from pathlib import Path
from typing import Any

import ml_dtypes

from se_weights.files.hdf5.listing import METADATA
from se_weights.files.stored import FileContents, Tensor, bytes_of

ENTRY, HEADERS = 4096, 2**20
"""Bytes that a dataset and its groups need beside its values, and a file beside its datasets: more than either does."""


def write(path: Path, stored: FileContents) -> None:
    """The HDF5 library writes what stands around the values, and says where they belong; they are put there after it.

    The room is taken before: where a disk is full, h5py itself would leave open handles that complain for ever.
    """
    import h5py  # takes a quarter of a second

    room = sum(tensor.nbytes + ENTRY for tensor in stored.tensors.values()) + HEADERS
    with path.open("w+b") as content:
        os.posix_fallocate(content.fileno(), 0, room)
        with h5py.File(_Prepared(content), "w") as file:
            file.attrs[METADATA] = json.dumps(dict(stored.metadata))
            offsets = {name: _place(file.id, name, tensor) for name, tensor in stored.tensors.items()}
        for name, tensor in stored.tensors.items():
            content.seek(offsets[name])
            content.write(bytes_of(tensor.load()))


class _Prepared:
    """A file that has its room on the disk already, and looks as long as what has been written to it."""

    def __init__(self, file: BufferedRandom) -> None:
        self.file = file
        self.length = 0
        self.read, self.tell = file.read, file.tell
        self.readinto = file.readinto
        self.flush = file.flush

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self.file.seek(self.length + offset if whence == os.SEEK_END else offset)

    def write(self, content: bytes) -> int:
        written = self.file.write(content)
        self.length = max(self.length, self.file.tell())
        return written

    def truncate(self, length: int) -> int:
        self.length = length
        return self.file.truncate(length)


def _place(file: Any, name: str, tensor: Tensor) -> int:
    """Where the values of a new dataset belong."""
    from h5py import Dataset, h5d, h5p, h5s, h5t

    groups = h5p.create(h5p.LINK_CREATE)
    groups.set_create_intermediate_group(True)
    layout = h5p.create(h5p.DATASET_CREATE)
    layout.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5d.FILL_TIME_NEVER)
    layout.set_obj_track_times(False)
    kind, space = h5t.py_create(tensor.dtype, logical=True), h5s.create_simple(tensor.shape)
    dataset = h5d.create(file, name.encode(), kind, space, layout, groups)
    if tensor.dtype == ml_dtypes.bfloat16:
        Dataset(dataset).attrs["dtype"] = "bfloat16"
    return dataset.get_offset() or 0
