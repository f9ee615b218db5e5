"""Unpickles state dicts with an allow-list of names: placeholders replace the objects of torch and numpy.

Any other name in the pickle stops it, so that nothing in a file can run.
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from reprlib import repr as short
from typing import Any, BinaryIO

import numpy as np

from se_weights.errors import WeightsError
from se_weights.files.torch.pickle_opcodes import scan_pickle
from se_weights.files.torch.pickle_placeholders import (
    STORAGES,
    AllowedFunction,
    ArrayPlaceholder,
    DtypePlaceholder,
    InertPlaceholder,
    Storage,
    StorageType,
    encode_latin1,
    from_buffer,
    rebuild_from_type,
    rebuild_parameter,
    rebuild_tensor,
    torch_size,
)
from se_weights.refusals import refuse

FindStorage = Callable[[StorageType, str, int], Storage]
"""Returns the storage of a type, a key and a number of values."""


def unpickle(file: BinaryIO, find_storage: FindStorage) -> Any:
    """Unpickles an untrusted pickle, once its opcodes are checked.

    Args:
        file: A file, positioned at the pickle; afterwards at its end.
        find_storage: Returns the storages to which the pickle refers.

    Returns:
        The tree.

    Raises:
        WeightsError: The pickle is refused.
    """
    begin = file.tell()
    if any(name.startswith("torch.nn.modules.") for name in scan_pickle(file)):
        raise refuse("pickle.module", "it names classes of torch.nn.modules")
    end = file.tell()
    file.seek(begin)
    tree = unpickle_trusted(file, find_storage)
    file.seek(end)
    return tree


def unpickle_trusted(file: BinaryIO, find_storage: FindStorage) -> Any:
    """Unpickles what this process wrote, without a check of the opcodes.

    Args:
        file: A file, positioned at the pickle.
        find_storage: Returns the storages to which the pickle refers.

    Returns:
        The tree.

    Raises:
        WeightsError: The pickle names what is not allowed, or is damaged.
    """
    try:
        return _Unpickler(file, find_storage).load()
    except WeightsError:
        raise
    except Exception as error:  # whatever a call with hostile arguments raises
        raise refuse("pickle.damaged", f"{type(error).__name__}: {error}") from error


class _Unpickler(pickle.Unpickler):
    """An unpickler for the names that a state dict or a dictionary of numpy arrays needs.

    Strings of Python 2 are decoded as latin-1, which does not change their bytes.
    """

    def __init__(self, file: BinaryIO, find_storage: FindStorage) -> None:
        super().__init__(file, encoding="latin-1")
        self.find_storage = find_storage

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGES:
            return StorageType(np.dtype(STORAGES[name]))
        if (module == "torch" and name in DTYPES) or module.startswith("omegaconf."):
            return InertPlaceholder
        if (module, name) in DENSE_ONLY or module.startswith(("torch.distributed.", "torch._subclasses.")):
            raise refuse("torch.kind", f"{module}.{name}")
        if (module, name) not in _ALLOWED:
            raise refuse("pickle.global", f"{module}.{name}")
        return _ALLOWED[module, name]

    def persistent_load(self, identity: Any) -> Storage:
        match identity:
            case ("storage", StorageType() as kind, key, _, int(count)) if count >= 0:
                return self.find_storage(kind, str(key), count)
            case ("storage", StorageType() as kind, key, _, int(count), None) if count >= 0:
                return self.find_storage(kind, str(key), count)
        raise refuse("torch.storage", f"{short(identity)} is not a reference to a storage")


DTYPES = {
    *("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"),
    *("strided", "contiguous_format", "channels_last", "preserve_format"),
}
"""Names of torch that are ignored: types, memory formats."""

DENSE_ONLY = {
    ("torch._utils", name)
    for name in (
        "_rebuild_sparse_tensor",
        "_rebuild_sparse_csr_tensor",
        "_rebuild_nested_tensor",
        "_rebuild_qtensor",
        "_rebuild_meta_tensor_no_storage",
        "_rebuild_wrapper_subclass",
        "_rebuild_device_tensor_from_numpy",
        "_rebuild_tensor_v3",
    )
}
"""How torch pickles tensors whose values are not a dense storage, or of a type that weights do not have."""

_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): AllowedFunction(rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): AllowedFunction(rebuild_tensor),
    ("torch._utils", "_rebuild_parameter"): AllowedFunction(rebuild_parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): AllowedFunction(rebuild_parameter),
    ("torch._tensor", "_rebuild_from_type_v2"): AllowedFunction(rebuild_from_type),
    ("numpy.core.numeric", "_frombuffer"): AllowedFunction(from_buffer),
    ("numpy._core.numeric", "_frombuffer"): AllowedFunction(from_buffer),
    ("torch", "Size"): AllowedFunction(torch_size),
    ("_codecs", "encode"): AllowedFunction(encode_latin1),
    ("numpy", "dtype"): DtypePlaceholder,
    **dict.fromkeys(
        [
            ("numpy", "ndarray"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
        ],
        ArrayPlaceholder,
    ),
    **dict.fromkeys(
        [
            ("__builtin__", "dict"),
            ("__builtin__", "list"),
            ("__builtin__", "set"),
            ("__builtin__", "int"),
            ("__builtin__", "float"),
            ("__builtin__", "str"),
            ("builtins", "dict"),
            ("builtins", "list"),
            ("builtins", "set"),
            ("builtins", "int"),
            ("builtins", "float"),
            ("builtins", "str"),
            ("argparse", "Namespace"),
            ("collections", "Counter"),
            ("collections", "defaultdict"),
            ("datetime", "datetime"),
            ("numpy._core.multiarray", "scalar"),
            ("numpy.core.multiarray", "scalar"),
            ("pathlib", "Path"),
            ("pathlib", "PosixPath"),
            ("pathlib", "PurePosixPath"),
            ("pathlib", "WindowsPath"),
            ("torch", "Tensor"),
            ("torch", "device"),
            ("torch.nn.parameter", "Parameter"),
            ("typing", "Any"),
        ],
        InertPlaceholder,
    ),
}
