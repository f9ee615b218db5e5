"""Unpickles state dicts: placeholders replace every object, so that nothing in a file can run.

Those of torch and numpy that hold weights are read. Any other object is inert: it stands in the tree, is listed, and no
weights are taken from it. A name that only an attack needs stops the pickle.
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from reprlib import repr as short
from typing import Any, BinaryIO

import numpy as np

from se_weights.errors import WeightsError
from se_weights.files.torch.inert_objects import (
    AllowedFunction,
    IndirectCall,
    InertPlaceholder,
    TensorClass,
    inert_class,
)
from se_weights.files.torch.pickle_names import BUILTINS, INDIRECT_CALLS, is_attack
from se_weights.files.torch.pickle_opcodes import scan_pickle
from se_weights.files.torch.pickle_placeholders import (
    STORAGES,
    ArrayPlaceholder,
    DtypePlaceholder,
    Storage,
    StorageType,
    byte_array,
    encode_latin1,
    from_buffer,
    rebuild_from_type,
    rebuild_parameter,
    rebuild_tensor,
    reconstruct_array,
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
    scan_pickle(file)
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
        if (module, name) in _READ:
            return _READ[module, name]
        full = f"{module}.{name}"
        if is_attack(module, name):
            raise refuse("pickle.global", full)
        if (module, name) in INDIRECT_CALLS:
            return inert_class(full, "pickle.global", IndirectCall)
        return inert_class(full, "torch.kind" if _is_tensor(module, name) else "pickle.global")

    def persistent_load(self, identity: Any) -> Storage | InertPlaceholder:
        match identity:
            case ("storage", type() as kind, *_) if issubclass(kind, InertPlaceholder):
                return kind()
            case ("storage", StorageType() as kind, key, _, int(count)) if count >= 0:
                return self.find_storage(kind, str(key), count)
            case ("storage", StorageType() as kind, key, _, int(count), None) if count >= 0:
                return self.find_storage(kind, str(key), count)
        raise refuse("torch.storage", f"{short(identity)} is not a reference to a storage")


TENSOR_MODULES = ("torch.distributed.", "torch._subclasses.", "torch.storage")
"""Modules of torch whose classes are tensors in several parts, without values, or of types that weights do not have."""


def _is_tensor(module: str, name: str) -> bool:
    """Whether the name is of tensors that are not read: sparse, quantized, of eight bits, complex."""
    rebuilds = module == "torch._utils" and name.startswith("_rebuild")
    return rebuilds or module.startswith(TENSOR_MODULES) or (module == "torch" and name.endswith("Storage"))


_READ: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): AllowedFunction(rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): AllowedFunction(rebuild_tensor),
    ("torch._utils", "_rebuild_parameter"): AllowedFunction(rebuild_parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): AllowedFunction(rebuild_parameter),
    ("torch._tensor", "_rebuild_from_type_v2"): AllowedFunction(rebuild_from_type),
    ("numpy.core.numeric", "_frombuffer"): AllowedFunction(from_buffer),
    ("numpy._core.numeric", "_frombuffer"): AllowedFunction(from_buffer),
    ("jax._src.array", "_reconstruct_array"): AllowedFunction(reconstruct_array),
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
    **{(module, "bytearray"): AllowedFunction(byte_array) for module in BUILTINS},
    **dict.fromkeys(
        [("torch", "Tensor"), ("torch.nn.parameter", "Parameter"), ("torch.nn.parameter", "Buffer")], TensorClass
    ),
}
"""What holds weights, and what is read of it."""
