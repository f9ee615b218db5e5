"""Zip archives of strangers: their directory is checked whole before any record is read, and every record by its CRC.

`zipfile` of Python 3.11 has no check for records that share bytes (CVE-2024-0450), and believes what a directory says.
"""

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from se_weights.files.limits import BOMB, HEADER, NAME
from se_weights.files.stored import values_at
from se_weights.refusals import refuse

DIRECTORY = 8 * 2**20
"""Bytes of a directory; that of SE-ResNet-152 has 100 thousand. It is read at once."""

CHUNK = 2**20
"""Bytes that are unpacked at once."""

LOCAL_HEADER = struct.Struct("<4s5H3L2H")
END = struct.Struct("<4s4H2LH")
ENCRYPTED = 0x1
NO_CRC = 0
"""What torch writes for a CRC where `torch.serialization.set_crc32_options(False)` told it not to."""


@dataclass(frozen=True)
class Record:
    """A file in the archive: where its bytes begin, how many lie there, and how many they unpack to."""

    name: str
    offset: int
    packed: int
    size: int
    crc: int
    deflated: bool


class Archive:
    """The records of an open zip file, by name."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        infos, begin, self.comment = _directory(file)
        self.records: dict[str, Record] = {}
        reached = 0
        for info in sorted(infos, key=lambda info: info.header_offset):
            if info.header_offset < reached:
                raise refuse("zip.overlap", f"{info.filename} begins at {info.header_offset}, inside the one before it")
            record = _record(file, info)
            reached = record.offset + record.packed
            if record.name in self.records:
                raise refuse("zip.twice", record.name)
            self.records[record.name] = record
        size, declared = file.seek(0, 2), sum(record.size for record in self.records.values())
        if declared > max(BOMB[0] * size, BOMB[1]):
            raise refuse("file.bomb", f"its records are declared with {declared:,} bytes, and {size:,} are there")
        if reached > begin:
            raise refuse("zip.overlap", f"the last record ends at {reached}, inside the directory at {begin}")

    def read(self, name: str) -> NDArray[np.uint8]:
        """The whole content of a record, checked. Several threads may read at once."""
        record = self.records[name]
        if record.deflated:
            return np.frombuffer(bytearray().join(self.pieces(name)), np.uint8)
        content = values_at(self.file, record.offset, np.dtype(np.uint8), record.size)
        _expect_recorded(record, content.size, zlib.crc32(content.data))
        return content

    def pieces(self, name: str) -> Iterator[bytes]:
        """The content of a record, piece by piece, checked at its end."""
        record = self.records[name]
        size = crc = 0
        for piece in self._unpacked(record):
            size += len(piece)
            crc = zlib.crc32(piece, crc)
            if size > record.size:
                break
            yield piece
        _expect_recorded(record, size, crc)

    def _unpacked(self, record: Record) -> Iterator[bytes]:
        if not record.deflated:
            yield from self._packed(record)
            return
        unpacking = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            for packed in self._packed(record):
                while packed and not unpacking.eof:
                    yield unpacking.decompress(packed, CHUNK)
                    packed = unpacking.unconsumed_tail
            while not unpacking.eof and (piece := unpacking.decompress(b"", CHUNK)):
                yield piece
        except zlib.error as error:
            raise refuse("zip.crc", f"{record.name} cannot be unpacked: {error}") from error

    def _packed(self, record: Record) -> Iterator[bytes]:
        """What lies in the file, piece by piece; less, where that ends before."""
        reached, end = record.offset, record.offset + record.packed
        while reached < end and (piece := os.pread(self.file.fileno(), min(end - reached, CHUNK), reached)):
            reached += len(piece)
            yield piece

    def read_document(self, name: str) -> bytes:
        """The content of a record that is no larger than a document may be."""
        if self.records[name].size > HEADER:
            raise refuse("file.bomb", f"{name} is declared with {self.records[name].size:,} bytes")
        return self.read(name).tobytes()

    def begin(self, name: str, count: int) -> bytes:
        """At most so many bytes from the beginning of a record, unchecked."""
        record = self.records[name]
        if record.deflated:
            return next(self._unpacked(record), b"")[:count]
        return os.pread(self.file.fileno(), min(record.packed, count), record.offset)


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    with path.open("rb") as file:
        yield Archive(file)


def _directory(file: BinaryIO) -> tuple[list[zipfile.ZipInfo], int, bytes]:
    """What the directory lists, where it begins, and the archive's comment."""
    size = file.seek(0, 2)
    file.seek(max(0, size - END.size - 0xFFFF))
    tail = file.read()
    end = tail.rfind(b"PK\5\6")
    if end < 0 or len(tail) - end < END.size:
        raise refuse("zip.damaged", f"its {size} bytes do not end with a directory")
    comment = tail[end + END.size :]
    *_, length = END.unpack_from(tail, end)
    if length != len(comment):
        raise refuse("zip.damaged", f"{len(comment)} bytes follow its directory, which announces {length}")
    try:
        with zipfile.ZipFile(_Sparing(file)) as archive:
            infos, begin = archive.infolist(), archive.start_dir
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, struct.error, OverflowError) as error:
        raise refuse("zip.damaged", str(error)) from error
    if infos and min(info.header_offset for info in infos) != 0:
        raise refuse("zip.damaged", "other bytes stand before its first record")
    return infos, begin, comment


class _Sparing:
    """A file for zipfile, which reads a directory of whatever length is declared at once."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.seek: Callable[..., int] = file.seek
        self.tell: Callable[[], int] = file.tell

    def read(self, count: int = -1) -> bytes:
        if count > DIRECTORY:
            raise refuse("zip.directory", f"{count:,} bytes")
        return self.file.read(count)


def _record(file: BinaryIO, info: zipfile.ZipInfo) -> Record:
    name = info.orig_filename
    if not name or len(name) > NAME or not name.isprintable() or _leads_out(name):
        raise refuse("zip.name", name)
    if stat.S_ISLNK(info.external_attr >> 16):
        raise refuse("file.link", f"{name} is a link")
    if info.flag_bits & ENCRYPTED or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise refuse("zip.method", f"{name}, method {info.compress_type}, flags {info.flag_bits:#x}")
    file.seek(info.header_offset)
    header = file.read(LOCAL_HEADER.size)
    if len(header) != LOCAL_HEADER.size or not header.startswith(b"PK\3\4"):
        raise refuse("zip.header", f"no record begins at {info.header_offset}, where {name} should")
    *_, name_length, extra_length = LOCAL_HEADER.unpack(header)
    if file.read(name_length) != name.encode("utf-8" if info.flag_bits & 0x800 else "cp437", "replace"):
        raise refuse("zip.header", f"the record at {info.header_offset} is not called {name}")
    deflated = info.compress_type == zipfile.ZIP_DEFLATED
    if not deflated and info.compress_size != info.file_size:
        raise refuse("zip.header", f"{name} is not packed, and yet {info.compress_size} bytes are {info.file_size}")
    offset = info.header_offset + LOCAL_HEADER.size + name_length + extra_length
    return Record(name, offset, info.compress_size, info.file_size, info.CRC, deflated)


def _expect_recorded(record: Record, size: int, crc: int) -> None:
    if size != record.size:
        raise refuse("zip.header", f"{record.name} is declared with {record.size:,} bytes, and holds another number")
    if record.crc not in (NO_CRC, crc):
        raise refuse("zip.crc", f"{record.name}, {record.size:,} bytes at {record.offset}")


def _leads_out(name: str) -> bool:
    return name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/")
