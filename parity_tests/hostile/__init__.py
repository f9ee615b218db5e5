"""Untrusted files, by the numbers of research/ecosystem.md, section 3.5; one module for each family of files."""

from parity_tests.hostile import (
    any_file,
    hdf5,
    keras,
    msgpack,
    npz,
    orbax,
    processes,
    safetensors,
    semantic,
    shards,
    torch,
    torch_dcp,
    torch_pickles,
    zips,
)
from parity_tests.hostile.case import Case, ValidFiles

FAMILIES = {
    "Any file": any_file,
    "What goes on around a conversion": processes,
    "safetensors": safetensors,
    "safetensors in several files": shards,
    "torch: pickles": torch_pickles,
    "torch: distributed checkpoints": torch_dcp,
    "torch: what is in them, and around them": torch,
    "Zip archives": zips,
    "HDF5": hdf5,
    "Keras": keras,
    "npz": npz,
    "msgpack": msgpack,
    "Orbax": orbax,
    "Well formed, and something else than one thinks": semantic,
}

CASES: tuple[Case, ...] = tuple(case for family in FAMILIES.values() for case in family.CASES)

__all__ = ["CASES", "FAMILIES", "Case", "ValidFiles"]
