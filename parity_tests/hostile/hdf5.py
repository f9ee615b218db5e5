"""Cases 75 to 86 and 92: HDF5 files with links, types and filters that weights never need."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t, h5z
from numpy.typing import NDArray

from parity_tests.hostile.archive import zlib_bomb
from parity_tests.hostile.case import Case, Make, ValidFiles, accepted, corrupted

BIAS = "layers/dense/vars/1"
MEGABYTE = 2**20
TERABYTE = 2**40
ZSTD = 32015
"""Number of a registered filter that is not part of the HDF5 library."""


def edited(change: Callable[[h5py.File], object]) -> Make:
    """The valid file, changed by the HDF5 library."""

    def make(folder: Path, valid: ValidFiles) -> Path:
        path = valid.copy(".weights.h5", folder)
        with h5py.File(path, "a") as file:
            change(file)
        return path

    return make


def put(name: str, item: Callable[[h5py.File], object]) -> Make:
    """The valid file with this object added, or put in place of the object of the same name."""

    def change(file: h5py.File) -> None:
        added = item(file)
        if name in file:
            del file[name]
        file[name] = added

    return edited(change)


def dataset(**options: object) -> Make:
    """The valid file with another dataset in place of fc.bias."""
    return instead(lambda file, values: file.create_dataset(BIAS, **options))


def instead(create: Callable[[h5py.File, NDArray], object]) -> Make:
    """The valid file with what `create` makes of its values in place of fc.bias."""

    def change(file: h5py.File) -> None:
        values = file[BIAS][()]
        del file[BIAS]
        create(file, values)

    return edited(change)


def linked_to_a_copy(file: h5py.File, values: NDArray) -> None:
    file["elsewhere"] = values
    file[BIAS] = h5py.SoftLink("/elsewhere")


def linked_group(file: h5py.File) -> None:
    file.move("layers/dense", "elsewhere")
    file["layers/dense"] = h5py.SoftLink("/elsewhere")


def virtual(file: h5py.File, values: NDArray) -> None:
    layout = h5py.VirtualLayout(values.shape, values.dtype)
    layout[:] = h5py.VirtualSource("/etc/passwd", "values", values.shape)
    file.create_virtual_dataset(BIAS, layout)


def of_type(kind: h5t.TypeID) -> Make:
    return instead(lambda file, values: h5d.create(file.id, BIAS.encode(), kind, h5s.create_simple(values.shape)))


def with_foreign_filter(file: h5py.File, values: NDArray) -> None:
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_chunk(values.shape)
    properties.set_filter(ZSTD, h5z.FLAG_OPTIONAL, ())
    made = h5d.create(file.id, BIAS.encode(), h5t.IEEE_F32LE, h5s.create_simple(values.shape), properties)
    made.write_direct_chunk((0,), values.tobytes())


def in_a_huge_chunk(file: h5py.File, values: NDArray) -> None:
    """Five values in a chunk that decompresses to 600 megabytes."""
    chunks = (600 * MEGABYTE // 4,)
    made = file.create_dataset(BIAS, values.shape, "f4", chunks=chunks, maxshape=(None,), compression="gzip")
    made.id.write_direct_chunk((0,), zlib_bomb(600))


def checked(file: h5py.File, values: NDArray) -> None:
    file.create_dataset(BIAS, data=values, chunks=values.shape, fletcher32=True)


def well_packed(file: h5py.File, values: NDArray) -> None:
    file.create_dataset(BIAS, data=values, chunks=values.shape, compression="gzip", shuffle=True, fletcher32=True)


def flipped_under_its_checksum(folder: Path, valid: ValidFiles) -> Path:
    path = instead(checked)(folder, valid)
    content = bytearray(path.read_bytes())
    content[content.rindex(valid.weights["fc.bias"].tobytes())] ^= 1
    path.write_bytes(content)
    return path


def overwritten(mark: bytes, text: bytes) -> Make:
    """The valid file with the first occurrence of a signature overwritten."""
    return corrupted(".weights.h5", lambda content: content.replace(mark, text, 1))


def copied(change: Callable[[bytes], bytes] = bytes, **options: object) -> Make:
    """The valid file rewritten with other options of the library, and then changed."""

    def make(folder: Path, valid: ValidFiles) -> Path:
        path = folder / "weights.weights.h5"
        with h5py.File(valid.path(".weights.h5")) as source, h5py.File(path, "w", **options) as target:
            for name in source:
                source.copy(name, target)
            target.attrs.update(source.attrs)
        path.write_bytes(change(path.read_bytes()))
        return path

    return make


def without_end(content: bytes) -> bytes:
    """The address of the end of the file, which a checksum covers, changed by one."""
    return content[:28] + bytes([content[28] ^ 1]) + content[29:]


def with_damaged_header(content: bytes) -> bytes:
    at = content.rindex(b"OHDR") + 8
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


def pickled_before(content: bytes) -> bytes:
    evil = b"\x80\x02cos\nsystem\nX\x09\0\0\0touch ran\x85R."
    return evil + content[len(evil) :]


def nested(levels: int) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        group = file
        for _ in range(levels):
            group = group.create_group("g")

    return change


def retyped(dtype: str) -> Make:
    """The valid file with every array in another dtype."""

    def change(file: h5py.File) -> None:
        arrays: dict[str, NDArray] = {}
        file.visititems(lambda name, item: arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
        for name, array in arrays.items():
            del file[name]
            file[name] = array.astype(dtype)

    return edited(change)


LINK = put("layers/extra", lambda file: h5py.ExternalLink("/etc/passwd", "/"))
BIAS_LINK = put(BIAS, lambda file: h5py.ExternalLink("elsewhere.h5", "/values"))
LOOP = put("layers/extra", lambda file: h5py.SoftLink("/layers/extra"))
COLOURS = h5py.enum_dtype({"red": 0, "green": 1}, "i4")

CASES = (
    Case("75a", "a link to another file", LINK, 4, "hdf5.link", says="layers/extra"),
    Case("75b", "a link to another file for a tensor", BIAS_LINK, 4, "hdf5.link", says=BIAS),
    Case("76a", "a soft link for a tensor", instead(linked_to_a_copy), 4, "hdf5.link", says=BIAS),
    Case("76b", "a soft link to itself", LOOP, 4, "hdf5.link", says="layers/extra"),
    Case("76c", "a soft link for a group", edited(linked_group), 4, "hdf5.link", says="layers/dense"),
    Case(
        "77",
        "the right shape, over the bytes of another file",
        dataset(shape=(5,), dtype="f4", external=[("/etc/passwd", 0, 20)]),
        4,
        "hdf5.link",
        says=BIAS,
    ),
    Case("78", "the right shape, seen in another file", instead(virtual), 4, "hdf5.link", says=BIAS),
    Case("79a", "terabytes declared, and nothing stored", dataset(shape=(TERABYTE,), dtype="f4"), 4, "file.bomb"),
    Case(
        "79b",
        "terabytes declared in chunks, and none stored",
        dataset(shape=(TERABYTE,), dtype="f4", chunks=(MEGABYTE,)),
        4,
        "file.bomb",
    ),
    Case("79c", "five values in a chunk of 600 megabytes", instead(in_a_huge_chunk), 4, "hdf5.limits"),
    Case(
        "80a", "3.9 gigabytes declared, and nothing stored", dataset(shape=(1_046_898_278,), dtype="f4"), 4, "file.bomb"
    ),
    Case("80b", "the right shape, and nothing stored", dataset(shape=(5,), dtype="f4"), 3, "hdf5.damaged", says=BIAS),
    Case(
        "80c",
        "the right shape in chunks, and none stored",
        dataset(shape=(5,), dtype="f4", chunks=(5,)),
        3,
        "hdf5.damaged",
        says=BIAS,
    ),
    Case("81a", "a group that holds itself", put("layers/extra", lambda file: file["layers"]), 4, "hdf5.link"),
    Case("81b", "groups of 400 levels", edited(nested(400)), 4, "hdf5.link"),
    Case("82a", "references to objects", dataset(shape=(5,), dtype=h5py.ref_dtype), 3, "hdf5.type", says=BIAS),
    Case("82b", "references to regions", dataset(shape=(5,), dtype=h5py.regionref_dtype), 3, "hdf5.type", says=BIAS),
    Case("82c", "texts of any length", dataset(shape=(5,), dtype=h5py.string_dtype()), 3, "hdf5.type", says=BIAS),
    Case("82d", "rows of any length", dataset(shape=(5,), dtype=h5py.vlen_dtype("f4")), 3, "hdf5.type", says=BIAS),
    Case("83a", "pairs", dataset(data=np.zeros(5, "f4,f4")), 3, "hdf5.type", says=BIAS),
    Case("83b", "colours", dataset(shape=(5,), dtype=COLOURS), 3, "hdf5.type", says=BIAS),
    Case("83c", "bytes without a meaning", dataset(data=np.zeros(5, "V4")), 3, "hdf5.type", says=BIAS),
    Case("83d", "bits", of_type(h5t.STD_B32LE), 3, "hdf5.type", says=BIAS),
    Case("84", "a filter that is none of HDF5's own", instead(with_foreign_filter), 5, "hdf5.filter", says=BIAS),
    Case(
        "85a",
        "a superblock of a version that is none",
        overwritten(b"HDF\r\n\x1a\n\0", b"HDF\r\n\x1a\n\x63"),
        3,
        "hdf5.damaged",
    ),
    Case("85b", "a tree of groups that is none", overwritten(b"TREE", b"EERT"), 3, "hdf5.damaged"),
    Case("85c", "a table of names that is none", overwritten(b"SNOD", b"DONS"), 3, "hdf5.damaged"),
    Case("85d", "a superblock of another checksum", copied(without_end, libver="latest"), 3, "hdf5.damaged"),
    Case(
        "85e", "an object's header of another checksum", copied(with_damaged_header, libver="latest"), 3, "hdf5.damaged"
    ),
    Case("85f", "a flipped bit under a checksum", flipped_under_its_checksum, 3, "hdf5.damaged", says=BIAS),
    accepted("85g", "a file of the library's latest layout", copied(libver="latest")),
    accepted("85h", "a tensor that is shuffled, packed and checked", instead(well_packed)),
    accepted("86a", "a user's block before the file", copied(userblock_size=512)),
    Case("86b", "a pickle in a user's block", copied(pickled_before, userblock_size=512), 3, "file.other"),
    accepted("92a", "big-endian values", retyped(">f4")),
    Case("92b", "values of 128 bits", retyped("longdouble"), 5, "tensor.type", says="layers/"),
    accepted(
        "92c",
        "values of 64 bits",
        retyped("f8"),
        weights=lambda valid: {name: array.astype("f8") for name, array in valid.weights.items()},
    ),
)
