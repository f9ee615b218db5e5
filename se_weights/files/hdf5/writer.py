"""Writes tensors as the datasets of an HDF5 file.

The HDF5 library writes the file's structure and allocates space for the values, which are then written there without
it. h5py's `create_dataset`, which writes the values too, takes 0.21 s instead of 0.14 s for SE-ResNet-152 (268 MB to a
file in memory, the best of 5 runs), and a conversion from safetensors 1.0 s instead of 0.8 s.
"""

import json
from pathlib import Path
from typing import Any

import ml_dtypes

from se_weights.files.contents import FileContents, Tensor, array_bytes
from se_weights.files.hdf5.listing import METADATA


def write(path: Path, contents: FileContents) -> None:
    """Writes a file, with the metadata as an attribute of the root.

    Raises:
        OSError: The disk is full, or the file cannot be written.
    """
    import h5py  # takes a quarter of a second

    with path.open("w+b") as output:
        with h5py.File(output, "w") as file:
            file.attrs[METADATA] = json.dumps(dict(contents.metadata))
            offsets = {name: _allocate(file.id, name, tensor) for name, tensor in contents.tensors.items()}
        for name, tensor in contents.tensors.items():
            output.seek(offsets[name])
            output.write(array_bytes(tensor.load()))


def _allocate(file: Any, name: str, tensor: Tensor) -> int:
    """Creates a dataset. The offset at which its values belong."""
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
