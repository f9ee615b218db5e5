"""Writes zip archives byte by byte, so that any field can have a wrong value."""

import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from io import BytesIO

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
MEGABYTE = 2**20


@dataclass(frozen=True)
class Record:
    """A record of an archive. A field that is None gets its correct value.

    Attributes:
        name: Its name in the directory.
        content: Its uncompressed content.
        method: Compression method.
        flags: General purpose flags.
        packed: Its compressed content.
        size: Uncompressed size in bytes, as declared.
        packed_size: Compressed size in bytes, as declared.
        crc: CRC-32, as declared.
        local_name: Its name in the local header.
        at: Offset of the local header, as declared; the record itself is then left out, and only listed.
        extra: Extra field of the directory entry.
        mode: Unix mode.
    """

    name: str
    content: bytes
    method: int = STORED
    flags: int = 0
    packed: bytes | None = None
    size: int | None = None
    packed_size: int | None = None
    crc: int | None = None
    local_name: str | None = None
    at: int | None = None
    extra: bytes = b""
    mode: int = 0


def records(content: bytes) -> list[Record]:
    """The records of a valid archive."""
    with zipfile.ZipFile(BytesIO(content)) as archive:
        return [Record(name, archive.read(name)) for name in archive.namelist()]


def comment(content: bytes) -> bytes:
    with zipfile.ZipFile(BytesIO(content)) as archive:
        return archive.comment


def changed(content: bytes, name: str, **changes: object) -> list[Record]:
    """The records of an archive, with changes in those whose name ends in `name`."""
    found = [replace(record, **changes) if record.name.endswith(name) else record for record in records(content)]
    assert found != records(content), name
    return found


def archive(listed: Iterable[Record], comment: bytes = b"", *, begin: int | None = None) -> bytes:
    """An archive of these records; `begin` is the declared offset of the directory, if not the correct one."""
    body, directory, count = b"", b"", 0
    for record in listed:
        count += 1
        local, entry = _headers(record, len(body))
        body += local if record.at is None else b""
        directory += entry
    begin = len(body) if begin is None else begin
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(directory), begin, len(comment))
    return body + directory + end + comment


def local(record: Record) -> bytes:
    """The local header and the content of a record."""
    return _headers(record, 0)[0]


def _headers(record: Record, here: int) -> tuple[bytes, bytes]:
    packed = record.content if record.packed is None else record.packed
    if record.method == DEFLATED and record.packed is None:
        packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        packed = packer.compress(record.content) + packer.flush()
    fields = (
        *(20, record.flags, record.method, 0, 0x21),
        zlib.crc32(record.content) if record.crc is None else record.crc,
        len(packed) if record.packed_size is None else record.packed_size,
        len(record.content) if record.size is None else record.size,
    )
    name, local_name = record.name.encode(), (record.local_name or record.name).encode()
    head = struct.pack("<4s5H3L2H", b"PK\3\4", *fields, len(local_name), 0) + local_name
    at = here if record.at is None else record.at
    rest = len(name), len(record.extra), 0, 0, 0, record.mode << 16, at
    entry = struct.pack("<4sH5H3L5H2L", b"PK\1\2", 0x0314, *fields, *rest)
    return head + packed, entry + name + record.extra


@cache
def bomb(megabytes: int, head: bytes = b"") -> dict[str, object]:
    """Fields of a record that decompresses to `head` and this many megabytes of zeros, all from one repeated block."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    first = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(MEGABYTE)) + packer.flush(zlib.Z_FULL_FLUSH)
    crc = zlib.crc32(head)
    for _ in range(megabytes):
        crc = zlib.crc32(bytes(MEGABYTE), crc)
    packed = first + block * megabytes + packer.flush()
    return {"method": DEFLATED, "packed": packed, "size": len(head) + megabytes * MEGABYTE, "crc": crc}


def zlib_bomb(megabytes: int) -> bytes:
    """The same in zlib format, as in HDF5."""
    check = 1
    for _ in range(megabytes):
        check = zlib.adler32(bytes(MEGABYTE), check)
    return b"\x78\xda" + bytes(bomb(megabytes)["packed"]) + struct.pack(">L", check)
