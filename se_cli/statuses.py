"""The exit status and the id of each kind of failure."""

import errno

from se_hub import DownloadFailed, MissingFile, UnknownWeights
from se_parity.run.client import WorkerFailed
from se_spec import ArchitectureError
from se_weights import (
    AmbiguousDialect,
    AmbiguousFolder,
    AmbiguousPrefix,
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
"""A comparison or a parity check failed."""

INTERNAL = 70
"""A bug in this program (EX_SOFTWARE of sysexits.h), which no input should be able to cause."""

STATUSES: dict[type[Exception], int] = {
    ArchitectureError: 2,
    AmbiguousDialect: 2,
    AmbiguousFolder: 2,
    AmbiguousPrefix: 2,
    MalformedFile: 3,
    WeightMismatch: 3,
    UnsafeFile: 4,
    UnsupportedFormat: 5,
    MissingExtra: 5,
    WorkerFailed: 5,
    DownloadFailed: 6,
    MissingFile: 6,
    SourceChanged: 6,
    TargetExists: 6,
    WriteFailed: 6,
    OSError: 6,
}
"""The exit status by class of the exception; the first class that matches counts."""

REASONS: dict[type[Exception], str] = {
    UnknownWeights: "weights.unknown",
    ArchitectureError: "architecture.impossible",
    WorkerFailed: "worker.failed",
    FileNotFoundError: "io.missing",
    PermissionError: "io.permission",
    OSError: "io.failed",
}
"""The id by class of the exception, for errors that have no id of their own; the first class that matches counts."""

DISK_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
"""Errors of a full disk, of a process's limit on file size, and of a disk quota."""


def status_of(error: Exception) -> int:
    """The exit status of a failure."""
    return next((status for kind, status in STATUSES.items() if isinstance(error, kind)), INTERNAL)


def reason_of(error: Exception) -> str:
    """The id of a failure, which stays the same from release to release."""
    if isinstance(error, WeightsError):
        return error.id
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return "io.full"
    return next((reason for kind, reason in REASONS.items() if isinstance(error, kind)), "internal")


def describe(error: Exception) -> tuple[int, str]:
    """The exit status and the id of a failure."""
    return status_of(error), reason_of(error)
