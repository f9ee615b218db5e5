"""Cases 62 to 68: zip archives that say one thing here and another there."""

import struct
from collections.abc import Callable, Iterable
from dataclasses import replace

from parity_tests.hostile.archive import DEFLATED, Record, archive, bomb, changed, local, records
from parity_tests.hostile.case import Case, Good, Make, accepted, saved, spoilt
from parity_tests.hostile.pickles import mapping, storages, torch_file, views, whole

ENCRYPTED = 1
DEFLATE64, LZ77 = 9, 97
TERABYTE = 2**40
ZIP64 = 1


def rebuilt(change: Callable[[bytes], Iterable[Record]]) -> Make:
    """The good torch file, of other records."""
    return spoilt(".pth", lambda content: archive(change(content)))


def last(**changes: object) -> Make:
    """The good torch file, with something else said of the record of fc.bias."""
    return rebuilt(lambda content: changed(content, "data/89", **changes))


def also(name: str) -> Make:
    """The good torch file, and its pickle once more under another name."""

    def twice(content: bytes) -> list[Record]:
        found = records(content)
        return [*found, next(replace(record, name=name) for record in found if record.name.endswith("data.pkl"))]

    return rebuilt(twice)


def moved(content: bytes) -> list[Record]:
    return [replace(record, name=f"outer/{record.name}") for record in records(content)]


def without_pickle(content: bytes) -> list[Record]:
    return [record for record in records(content) if not record.name.endswith("data.pkl")]


def quoted(content: bytes) -> bytes:
    """A record that has the whole of the next one, header and all, for its content; the directory lists both."""
    *found, last = records(content)
    outer = Record("archive/quote", local(last))
    begin = sum(len(local(record)) for record in found) + len(local(outer)) - len(outer.content)
    return archive([*found, outer, replace(last, at=begin)])


def filled(count: int) -> bytes:
    """A directory of so many entries, all of one record, with the end that zip64 needs for them."""
    body = local(Record("archive/data.pkl", b"."))
    one = archive([Record("archive/data.pkl", b".")])
    entry = one[len(body) : one.index(b"PK\5\6")]
    directory = entry * count
    here = len(body) + len(directory)
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(directory), len(body))
    place = struct.pack("<4sLQL", b"PK\6\7", 0, here, 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return body + directory + end64 + place + end


def exploding(record: str) -> Make:
    """A record of the good torch file as 600 megabytes of zeros, well packed."""
    return rebuilt(lambda content: changed(content, record, **bomb(600)))


def unmarked(content: bytes) -> list[Record]:
    """As torch.serialization.set_crc32_options(False) leaves them."""
    return [replace(record, crc=0) for record in records(content)]


def lying(size: int) -> bytes:
    return struct.pack("<2H2Q", ZIP64, 16, size, size)


def unsigned(content: bytes) -> bytes:
    """The last record without the signature that a record begins with."""
    at = content.rindex(b"PK\3\4")
    return content[:at] + bytes(4) + content[at + 4 :]


def five_in_a_bomb(good: Good) -> bytes:
    """fc.bias, of the right shape, in a storage of 600 megabytes of zeros."""
    found = views(good.weights)
    count = bomb(600)["size"] // 4
    found["fc.bias"] = found["fc.bias"].but(count=count)
    listed = torch_file(whole(mapping({name: view.pickled for name, view in found.items()})), storages(good.weights))
    return archive(replace(record, **bomb(600)) if record.name.endswith("data/89") else record for record in listed)


def outside(content: bytes) -> bytes:
    return archive(records(content), begin=len(content) * 2)


CASES = (
    Case("62a", "two pickles in two folders", also("other/data.pkl"), 3, "torch.archive"),
    Case("62b", "no pickle", rebuilt(without_pickle), 3, "torch.archive"),
    Case("62c", "a folder in a folder", rebuilt(moved), 3, "torch.archive"),
    Case("62d", "two pickles of one name", also("archive/data.pkl"), 3, "zip.twice", says="archive/data.pkl"),
    Case("63a", "a record of another name than in the directory", last(local_name="archive/data/88"), 3, "zip.header"),
    Case("63b", "a stored record of another size than it has", last(size=16), 3, "zip.header", says="data/89"),
    Case("63c", "a record where there is none", spoilt(".pth", unsigned), 3, "zip.header"),
    Case("64a", "an encrypted record", last(flags=ENCRYPTED), 5, "zip.method", says="data/89"),
    Case("64b", "a record packed by deflate64", last(method=DEFLATE64), 5, "zip.method", says="data/89"),
    Case("64c", "a record packed by a method that is none", last(method=LZ77), 5, "zip.method", says="data/89"),
    Case(
        "65a",
        "five values in a storage of 600 megabytes of zeros",
        saved("weights.pth", five_in_a_bomb),
        4,
        "file.bomb",
    ),
    Case("65b", "600 megabytes of zeros in a storage declared with five", exploding("data/89"), 4, "file.bomb"),
    Case("65c", "600 megabytes of zeros for a pickle", exploding("data.pkl"), 4, "file.bomb"),
    accepted(
        "65d",
        "records that are packed as they should not be, and whole",
        rebuilt(lambda content: [replace(record, method=DEFLATED) for record in records(content)]),
    ),
    Case("66", "a record inside another (CVE-2024-0450)", spoilt(".pth", quoted), 4, "zip.overlap"),
    Case("67a", "a checksum that is not the record's", last(crc=0xC0FFEE), 3, "zip.crc", says="data/89"),
    accepted("67b", "checksums of 0, which torch writes for none", rebuilt(unmarked)),
    Case(
        "68a",
        "a record of terabytes, by zip64",
        last(size=0xFFFFFFFF, packed_size=0xFFFFFFFF, extra=lying(TERABYTE)),
        4,
        "zip.overlap",
    ),
    Case("68b", "a directory beyond the end", spoilt(".pth", outside), 3, "zip.damaged"),
    Case("68c", "65,536 entries of one record", saved("weights.pth", filled(65_536)), 4, "zip.overlap"),
    Case("68f", "150,000 entries of one record", saved("weights.pth", filled(150_000)), 4, "zip.directory"),
    Case(
        "68d",
        "a comment longer than the file",
        spoilt(".pth", lambda content: content[:-2] + b"\xff\xff"),
        3,
        "zip.damaged",
    ),
    Case(
        "68e",
        "a directory of a name that leads out",
        also("archive/../../evil.py"),
        3,
        "zip.name",
        says="../../evil.py",
    ),
)
