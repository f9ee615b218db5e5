"""What a file begins with tells what it is, whatever its suffix says."""

from pathlib import Path

from se_weights.files.formats import Format
from se_weights.files.limits import HEADER
from se_weights.refusals import refuse

BEGINNING = 512

SIGNATURES = {
    "zip": b"PK\3\4",
    "HDF5": b"\x89HDF\r\n\x1a\n",
    **{f"pickle {version}": bytes((0x80, version)) for version in range(2, 6)},
}

NO_WEIGHTS = {
    b"version https://git-lfs": "file.pointer",
    b"<!doctype": "file.page",
    b"<html": "file.page",
    b"<?xml": "file.page",
    b"\x1f\x8b": "file.packed",
    b"\xfd7zXZ\0": "file.packed",
    b"7z\xbc\xaf\x27\x1c": "file.packed",
    b"BZh": "file.packed",
    b"\x28\xb5\x2f\xfd": "file.packed",
    b"Rar!": "file.packed",
}

TAR, TAR_AT = b"ustar", 257
OLD_TORCH = b"sys_info"
"""The first member of the tar that torch saved before 0.1.10."""


def expect_signature(path: Path, file_format: Format) -> None:
    """Refuse a file whose beginning is not that of its format, by the name of what it is."""
    with path.open("rb") as file:
        beginning = file.read(BEGINNING)
    if not beginning:
        raise refuse("file.empty", "0 bytes")
    for signature, reason in NO_WEIGHTS.items():
        if beginning.lstrip().lower().startswith(signature.lower()):
            raise refuse(reason, f"it begins with {beginning[: len(signature)]!r}")
    if beginning[TAR_AT:].startswith(TAR):
        raise refuse("torch.tar" if beginning.startswith(OLD_TORCH) else "file.packed", "it is a tar archive")
    found = _found(beginning)
    if found and found.split()[0] not in file_format.signatures:
        raise refuse("file.other", f"it is {found}, and not {file_format.name}")


def _found(beginning: bytes) -> str | None:
    for name, signature in SIGNATURES.items():
        if beginning.startswith(signature):
            return name
    length = int.from_bytes(beginning[:8], "little")
    return "safetensors" if beginning[8:9] == b"{" and length <= HEADER else None
