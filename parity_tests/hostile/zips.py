"""Cases 62 to 68: zip archives whose headers contradict each other or their content."""

import struct
from collections.abc import Callable, Iterable
from dataclasses import replace

from parity_tests.hostile.archive import DEFLATED, Record, archive, bomb, changed, local, records
from parity_tests.hostile.case import Case, Make, ValidFiles, accepted, corrupted, file_with
from parity_tests.hostile.pickles import pickle_of, storages, text_dict, torch_file, views

ENCRYPTED = 1
DEFLATE64, LZ77 = 9, 97
TERABYTE = 2**40
ZIP64 = 1


def rebuilt(change: Callable[[bytes], Iterable[Record]]) -> Make:
    """The valid torch file with other records."""
    return corrupted(".pth", lambda content: archive(change(content)))


def last(**changes: object) -> Make:
    """The valid torch file with changes in the record of fc.bias."""
    return rebuilt(lambda content: changed(content, "data/89", **changes))


def also(name: str) -> Make:
    """The valid torch file with a second copy of its pickle under this name."""

    def twice(content: bytes) -> list[Record]:
        found = records(content)
        return [*found, next(replace(record, name=name) for record in found if record.name.endswith("data.pkl"))]

    return rebuilt(twice)


def moved(content: bytes) -> list[Record]:
    return [replace(record, name=f"outer/{record.name}") for record in records(content)]


def without_pickle(content: bytes) -> list[Record]:
    return [record for record in records(content) if not record.name.endswith("data.pkl")]


def quoted(content: bytes) -> bytes:
    """A record whose content is the next record, header included; the directory lists both."""
    *found, last = records(content)
    outer = Record("archive/quote", local(last))
    begin = sum(len(local(record)) for record in found) + len(local(outer)) - len(outer.content)
    return archive([*found, outer, replace(last, at=begin)])


def filled(count: int) -> bytes:
    """A directory with this many entries, all for one record, and the zip64 end that they require."""
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
    """The valid torch file with 600 megabytes of compressed zeros in one record."""
    return rebuilt(lambda content: changed(content, record, **bomb(600)))


def unmarked(content: bytes) -> list[Record]:
    """Records without checksums, as after torch.serialization.set_crc32_options(False)."""
    return [replace(record, crc=0) for record in records(content)]


def zip64_sizes(size: int) -> bytes:
    return struct.pack("<2H2Q", ZIP64, 16, size, size)


def unsigned(content: bytes) -> bytes:
    """Overwrites the signature of the last record."""
    at = content.rindex(b"PK\3\4")
    return content[:at] + bytes(4) + content[at + 4 :]


def five_in_a_bomb(valid: ValidFiles) -> bytes:
    """fc.bias, of the right shape, in a storage of 600 megabytes of zeros."""
    found = views(valid.weights)
    count = bomb(600)["size"] // 4
    found["fc.bias"] = found["fc.bias"].but(count=count)
    listed = torch_file(
        pickle_of(text_dict({name: view.pickled for name, view in found.items()})), storages(valid.weights)
    )
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
    Case("63c", "a record where there is none", corrupted(".pth", unsigned), 3, "zip.header"),
    Case("64a", "an encrypted record", last(flags=ENCRYPTED), 5, "zip.method", says="data/89"),
    Case("64b", "a record packed by deflate64", last(method=DEFLATE64), 5, "zip.method", says="data/89"),
    Case("64c", "a record packed by a method that is none", last(method=LZ77), 5, "zip.method", says="data/89"),
    Case(
        "65a",
        "five values in a storage of 600 megabytes of zeros",
        file_with("weights.pth", five_in_a_bomb),
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
    Case("66", "a record inside another (CVE-2024-0450)", corrupted(".pth", quoted), 4, "zip.overlap"),
    Case("67a", "a checksum that is not the record's", last(crc=0xC0FFEE), 3, "zip.crc", says="data/89"),
    accepted("67b", "checksums of 0, which torch writes for none", rebuilt(unmarked)),
    Case(
        "68a",
        "a record of terabytes, by zip64",
        last(size=0xFFFFFFFF, packed_size=0xFFFFFFFF, extra=zip64_sizes(TERABYTE)),
        4,
        "zip.overlap",
    ),
    Case("68b", "a directory beyond the end", corrupted(".pth", outside), 3, "zip.damaged"),
    Case("68c", "65,536 entries of one record", file_with("weights.pth", filled(65_536)), 4, "zip.overlap"),
    Case("68f", "150,000 entries of one record", file_with("weights.pth", filled(150_000)), 4, "zip.directory"),
    Case(
        "68d",
        "a comment longer than the file",
        corrupted(".pth", lambda content: content[:-2] + b"\xff\xff"),
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
