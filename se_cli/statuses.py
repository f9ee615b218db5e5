"""The exit status of each kind of failure, and its id."""

import errno

from se_parity.run.client import WorkerFailed
from se_spec import ArchitectureError
from se_weights import (
    AmbiguousDialect,
    AmbiguousFolder,
    MalformedFile,
    MissingExtra,
    SourceChanged,
    TargetExists,
    UnsafeFile,
    UnsupportedFormat,
    WeightMismatch,
    WeightsError,
    WriteFailed,
)

FAILED = 1
INTERNAL = 70
"""A fault of the program itself (EX_SOFTWARE of sysexits.h), which no input should be able to cause."""

STATUSES: dict[type[Exception], int] = {
    ArchitectureError: 2,
    AmbiguousDialect: 2,
    AmbiguousFolder: 2,
    MalformedFile: 3,
    WeightMismatch: 3,
    UnsafeFile: 4,
    UnsupportedFormat: 5,
    MissingExtra: 5,
    WorkerFailed: 5,
    SourceChanged: 6,
    TargetExists: 6,
    WriteFailed: 6,
    OSError: 6,
}


def status_of(error: Exception) -> int:
    return next((status for kind, status in STATUSES.items() if isinstance(error, kind)), INTERNAL)


def describe(error: Exception) -> tuple[int, str]:
    """The status and the id of a failure."""
    return status_of(error), reason_of(error)


REASONS: dict[type[Exception], str] = {
    ArchitectureError: "architecture.impossible",
    WorkerFailed: "worker.failed",
    FileNotFoundError: "io.missing",
    PermissionError: "io.permission",
    OSError: "io.failed",
}

FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
"""What a full disk answers, or a quota, or a limit of the process."""


def reason_of(error: Exception) -> str:
    """A word for the failure that stays the same from release to release."""
    if isinstance(error, WeightsError):
        return error.id
    if isinstance(error, OSError) and error.errno in FULL:
        return "io.full"
    return next((reason for kind, reason in REASONS.items() if isinstance(error, kind)), "internal")
