"""Cases 73: folders of torch.distributed.checkpoint, whose metadata are a pickle."""

import pickle as op
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parity_tests.hostile.archive import archive
from parity_tests.hostile.case import Case, Make, ValidFiles, accepted
from parity_tests.hostile.pickles import (
    call,
    dict_of,
    global_name,
    int_tuple,
    new_object,
    number,
    pickle_of,
    storages,
    text,
    text_dict,
    torch_file,
    tuple_of,
    views,
)

FIRST, SECOND = "__0_0.distcp", "__1_0.distcp"
"""The files of the two ranks."""


@dataclass(frozen=True)
class Part:
    """A part of a tensor as a rank saves it, and as the metadata describe it.

    Attributes:
        tensor: The name of the tensor.
        array: The values of the part.
        offset: Where it begins in the tensor.
        file: The file in which it is, by the metadata.
        length: Its size in bytes by the metadata; the right one if it is None.
        pickle: What is in its archive in place of the tensor, if anything.
    """

    tensor: str
    array: NDArray
    offset: tuple[int, ...]
    file: str
    length: int | None = None
    pickle: bytes = b""

    @property
    def content(self) -> bytes:
        """The bytes of the part: an archive of torch.save."""
        weights = {"": self.array}
        return archive(torch_file(pickle_of(self.pickle or views(weights)[""].pickled), storages(weights)))


def parts(valid: ValidFiles) -> list[Part]:
    """The parts of the valid tensors; the second half of fc.weight is in the other rank's file."""
    found = [Part(name, array, (0,) * array.ndim, FIRST) for name, array in valid.weights.items()]
    weight = valid.weights["fc.weight"]
    halves = [Part("fc.weight", weight[:2], (0, 0), FIRST), Part("fc.weight", weight[2:], (2, 0), SECOND)]
    return [part for part in found if part.tensor != "fc.weight"] + halves


def size(sizes: Iterable[int]) -> bytes:
    return call(global_name("torch", "Size"), int_tuple(sizes))


def dcp_object(module: str, name: str, state: bytes) -> bytes:
    """An object of a class of torch.distributed.checkpoint."""
    return new_object(global_name(f"torch.distributed.checkpoint.{module}", name), state)


def fields(module: str, name: str, **values: bytes) -> bytes:
    return dcp_object(module, name, text_dict(values))


def metadata(
    placed: Sequence[tuple[Part, int]], dtype: str, offset: Callable[[Part], bytes], transforms: bytes
) -> bytes:
    """The pickle of the metadata, from the parts and where they begin in their files."""
    properties = dcp_object(
        "metadata",
        "TensorProperties",
        tuple_of(global_name("torch", dtype), op.NONE, op.NEWFALSE, op.NONE, op.NEWFALSE),
    )
    entries, places = {}, []
    for part, begin in placed:
        own = [other for other, _ in placed if other.tensor == part.tensor]
        chunks = [
            fields("metadata", "ChunkStorageMetadata", offsets=offset(other), sizes=size(other.array.shape))
            for other in own
        ]
        chunk_list = op.EMPTY_LIST + op.MARK + b"".join(chunks) + op.APPENDS
        entries[part.tensor] = fields("metadata", "TensorStorageMetadata", properties=properties, chunks=chunk_list)
        index = fields("metadata", "MetadataIndex", fqn=text(part.tensor), offset=offset(part))
        length = len(part.content) if part.length is None else part.length
        info = fields(
            "filesystem",
            "_StorageInfo",
            relative_path=text(part.file),
            offset=number(begin),
            length=number(length),
            transform_descriptors=transforms,
        )
        places.append((index, info))
    return pickle_of(
        fields("metadata", "Metadata", state_dict_metadata=text_dict(entries), storage_data=dict_of(places))
    )


def folder_of(
    change: Callable[[Part], Part] = lambda part: part,
    dtype: str = "float32",
    offset: Callable[[Part], bytes] = lambda part: size(part.offset),
    transforms: bytes = op.NONE,
) -> Make:
    """A folder of two ranks, with changes in its parts and in the metadata.

    Args:
        change: Changes a part, and what the metadata say of it. Its bytes go where the unchanged part belongs.
        dtype: torch's name of the type of all tensors in the metadata.
        offset: The pickle of the offset of a part.
        transforms: The pickle of the transforms that the parts were stored with.
    """

    def make(folder: Path, valid: ValidFiles) -> Path:
        path = folder / "weights"
        path.mkdir()
        written = {FIRST: b"", SECOND: b""}
        placed = []
        for part in parts(valid):
            changed = change(part)
            placed.append((changed, len(written[part.file])))
            written[part.file] += changed.content
        for name, content in written.items():
            (path / name).write_bytes(content)
        (path / ".metadata").write_bytes(metadata(placed, dtype, offset, transforms))
        return path

    return make


def second_half(**changes: object) -> Make:
    """The folder with changes in the second half of fc.weight."""
    return folder_of(lambda part: replace(part, **changes) if part.offset == (2, 0) else part)


def with_file(name: str, content: bytes | None) -> Make:
    """The folder with another content of one file, or without it."""

    def make(folder: Path, valid: ValidFiles) -> Path:
        path = folder_of()(folder, valid)
        (path / name).unlink()
        if content is not None:
            (path / name).write_bytes(content)
        return path

    return make


def linked(folder: Path, valid: ValidFiles) -> Path:
    """The folder with a file that is a link to one outside of it."""
    path = folder_of()(folder, valid)
    (path / SECOND).rename(folder / "elsewhere")
    (path / SECOND).symlink_to("../elsewhere")
    return path


def one_file(folder: Path, valid: ValidFiles) -> Path:
    """The file of one rank, without its folder."""
    return folder_of()(folder, valid) / FIRST


SYSTEM = call(global_name("os", "system"), text("touch ran"))

CASES = (
    accepted("73a", "a folder of torch's DCP, saved by two ranks", folder_of()),
    Case("73b", "DCP metadata that call a command", with_file(".metadata", pickle_of(SYSTEM)), 4, "pickle.global"),
    Case("73c", "a DCP part that calls a command", second_half(pickle=SYSTEM), 4, "pickle.global", says="os.system"),
    Case("73d", "a DCP file one folder up", second_half(file="../secret"), 4, "shards.path", says="../secret"),
    Case("73e", "a DCP file that is a link out of the folder", linked, 4, "file.link"),
    Case("73f", "a DCP file that is not there", with_file(SECOND, None), 3, "shards.missing", says=SECOND),
    Case("73g", "DCP metadata of another kind", with_file(".metadata", pickle_of(number(1))), 5, "torch.distributed"),
    Case("73h", "compressed DCP parts", folder_of(transforms=text("zstd")), 5, "torch.distributed", says="transforms"),
    Case("73i", "DCP parts with a hole between them", second_half(offset=(3, 0)), 3, "shards.pieces", says="fc.weight"),
    Case("73j", "DCP parts that overlap", second_half(offset=(1, 0)), 3, "shards.pieces", says="fc.weight"),
    Case("73k", "DCP parts of another type", folder_of(dtype="float64"), 3, "shards.pieces", says="float64"),
    Case("73l", "DCP parts of eight bits", folder_of(dtype="float8_e5m2"), 5, "torch.kind", says="float8_e5m2"),
    Case("73m", "a DCP part longer than its file", second_half(length=10**6), 3, "shards.pieces"),
    Case("73n", "a DCP part of a huge length", second_half(length=2**70), 3, "shards.pieces"),
    Case("73o", "a DCP part of no length", second_half(length=0), 3, "zip.damaged"),
    Case("73p", "a DCP offset of lists", folder_of(offset=lambda part: op.EMPTY_LIST + op.TUPLE1), 3, "tensor.shape"),
    Case("73r", "one file of a DCP folder", one_file, 5, "torch.distributed-part", says="folder"),
    Case(
        "73q",
        "a DCP part of another shape",
        second_half(array=np.zeros((3, 9), np.float32)),
        3,
        "shards.pieces",
        says="fc.weight",
    ),
)
