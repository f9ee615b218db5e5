"""The exit status of each kind of failure."""

from se_parity.workers import WorkerFailed
from se_spec import ArchitectureError
from se_weights import (
    AmbiguousDialect,
    MalformedFile,
    MissingExtra,
    TargetExists,
    UnsafeFile,
    UnsupportedFormat,
    WeightMismatch,
    WriteFailed,
)

FAILED = 1
INTERNAL = 70
"""A fault of the program itself (EX_SOFTWARE of sysexits.h), which no input should be able to cause."""

STATUSES: dict[type[Exception], int] = {
    ArchitectureError: 2,
    AmbiguousDialect: 2,
    MalformedFile: 3,
    WeightMismatch: 3,
    UnsafeFile: 4,
    UnsupportedFormat: 5,
    MissingExtra: 5,
    WorkerFailed: 5,
    TargetExists: 6,
    WriteFailed: 6,
    OSError: 6,
}


def status_of(error: Exception) -> int:
    return next((status for kind, status in STATUSES.items() if isinstance(error, kind)), INTERNAL)
