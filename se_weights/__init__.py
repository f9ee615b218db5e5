"""How weights are named, laid out, stored and converted. No framework is imported for any of it."""

from se_weights.checkpoint import Checkpoint, check, tensor_sha256, weights_sha256
from se_weights.convert import convert, file_sha256, read, write
from se_weights.dialects import DIALECTS
from se_weights.errors import (
    AmbiguousDialect,
    MalformedFile,
    MissingExtra,
    TargetExists,
    UnsafeFile,
    UnsupportedFormat,
    WeightMismatch,
    WeightsError,
    WriteFailed,
)
from se_weights.layouts import relayout

__all__ = [
    "DIALECTS",
    "AmbiguousDialect",
    "Checkpoint",
    "MalformedFile",
    "MissingExtra",
    "TargetExists",
    "UnsafeFile",
    "UnsupportedFormat",
    "WeightMismatch",
    "WeightsError",
    "WriteFailed",
    "check",
    "convert",
    "file_sha256",
    "read",
    "relayout",
    "tensor_sha256",
    "weights_sha256",
    "write",
]
