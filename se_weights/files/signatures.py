"""Detects the format of a file from its first bytes, whatever its suffix is."""

from pathlib import Path

from se_weights.files.formats import HDF5, KERAS_ARCHIVE, MSGPACK, NPZ, PTH, SAFETENSORS, Format
from se_weights.files.limits import HEADER
from se_weights.files.zip_archive import open_archive
from se_weights.refusals import refuse

START_BYTES = 512
"""Bytes that are read to detect the format."""

SIGNATURES = {
    "zip": b"PK\3\4",
    "HDF5": b"\x89HDF\r\n\x1a\n",
    **{f"pickle {version}": bytes((0x80, version)) for version in range(2, 6)},
}
"""First bytes of the formats by name; the first word of a name is one of `Format.signatures`."""

OTHER_SIGNATURES = {
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
"""First bytes of files that do not contain weights, and the id of the refusal."""

MSGPACK_MAPS = (*range(0x81, 0x90), 0xDE, 0xDF)
MSGPACK_TEXTS = {*range(0xA1, 0xC0), 0xD9}
"""First bytes of a map of msgpack, and those of the text that follows, its first key."""

TAR, TAR_OFFSET = b"ustar", 257
OLD_TORCH = b"sys_info"
"""The first member of the tar that torch saved before 0.1.10."""


FORMAT_OF_SIGNATURE = {"safetensors": SAFETENSORS, "pickle": PTH, "HDF5": HDF5}
"""The format of a file by the first word of its signature's name; a zip archive is one of several."""

FORMAT_OF_RECORD = {"/data.pkl": PTH, "model.weights.h5": KERAS_ARCHIVE, ".npy": NPZ}
"""The format of a zip archive that contains a record whose name ends like this."""


def format_by_content(path: Path) -> Format | None:
    """Detects the format of a file whose suffix does not name one.

    Returns:
        The format, or None where the first bytes are not those of a known format.

    Raises:
        WeightsError: The file is a zip archive, and is refused.
    """
    with path.open("rb") as file:
        start = file.read(START_BYTES)
    signature = (_signature_name(start) or "").partition(" ")[0]
    if not signature and start[:1] and start[0] in MSGPACK_MAPS and set(start[1:6]) & MSGPACK_TEXTS:
        return MSGPACK
    if signature != "zip":
        return FORMAT_OF_SIGNATURE.get(signature)
    with open_archive(path) as archive:
        return next(
            (known for end, known in FORMAT_OF_RECORD.items() if any(name.endswith(end) for name in archive.records)),
            None,
        )


def check_signature(path: Path, file_format: Format) -> None:
    """Checks that the first bytes of a file are not those of another format.

    Args:
        path: The file.
        file_format: The format that the file should have.

    Raises:
        WeightsError: They are; the message names what the file is.
    """
    with path.open("rb") as file:
        start = file.read(START_BYTES)
    if not start:
        raise refuse("file.empty", "0 bytes")
    for signature, reason in OTHER_SIGNATURES.items():
        if start.lstrip().lower().startswith(signature.lower()):
            raise refuse(reason, f"it begins with {start[: len(signature)]!r}")
    if start[TAR_OFFSET:].startswith(TAR):
        raise refuse("torch.tar" if start.startswith(OLD_TORCH) else "file.packed", "it is a tar archive")
    name = _signature_name(start)
    if name and name.split()[0] not in file_format.signatures:
        raise refuse("file.other", f"it is {name}, and not {file_format.name}")


def _signature_name(start: bytes) -> str | None:
    for name, signature in SIGNATURES.items():
        if start.startswith(signature):
            return name
    length = int.from_bytes(start[:8], "little")
    return "safetensors" if start[8:9] == b"{" and length <= HEADER else None
