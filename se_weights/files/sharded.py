"""Weights in several files, the shards, with an index in JSON: of Hugging Face, accelerate and Keras.

The index of Hugging Face and accelerate names the shard of each tensor. That of Keras names the shard, or several, of
each group of tensors (keras 3.15, saving/saving_lib.py).
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from se_weights.files.contents import FileContents
from se_weights.files.folders import check_inside, is_file_name
from se_weights.files.formats import HDF5, PTH, SAFETENSORS, Format
from se_weights.files.json_document import DuplicateKey, parse_object
from se_weights.files.limits import HEADER
from se_weights.refusals import refuse

SHARDS = {".safetensors.index.json": SAFETENSORS, ".bin.index.json": PTH, ".weights.json": HDF5}
"""The format of the shards by the suffix of their index."""


@contextmanager
def open_contents(path: Path) -> Iterator[FileContents]:
    """Opens an index: the tensors that it lists, each from the shard that it names.

    Raises:
        WeightsError: The index or a shard is refused; or a tensor is missing, or not listed in the index.
    """
    shard_format = next(known for suffix, known in SHARDS.items() if path.name.endswith(suffix))
    index = _read_index(path, shard_format)
    with ExitStack() as stack:
        names = sorted({shard for shards in index.values() for shard in shards})
        shards = {name: stack.enter_context(shard_format.open(path.parent / name)) for name in names}
        actual: dict[str, str] = {}
        for shard, contents in shards.items():
            for name in contents.tensors:
                if name in actual:
                    raise refuse("shards.index", f"{name} is in {actual[name]} and in {shard}")
                if shard_format is not HDF5 and name not in index:
                    raise refuse("shards.index", f"{shard} contains {name}, which the index does not list")
                actual[name] = shard
        if shard_format is not HDF5:
            for name, (shard, *_) in index.items():
                if actual.get(name) != shard:
                    raise refuse("shards.missing", f"{name}, which is in {shard} according to the index")
        tensors = {name: shards[shard].tensors[name] for name, shard in actual.items()}
        metadata = {key: text for contents in shards.values() for key, text in contents.metadata.items()}
        yield FileContents(tensors, metadata)


def _read_index(path: Path, shard_format: Format) -> dict[str, list[str]]:
    """The names of the shards of each tensor, or of each group of tensors."""
    if path.stat().st_size > HEADER:
        raise refuse("shards.index", f"{path.stat().st_size:,} bytes are more than the {HEADER:,} that it may have")
    try:
        document = parse_object(path.read_bytes(), "shards.index")
    except DuplicateKey as error:
        raise refuse("shards.index", str(error)) from error
    listed = document.get("weight_map")
    index = {name: _as_list(shards) for name, shards in listed.items()} if isinstance(listed, dict) else {}
    if not index or not all(shards and all(isinstance(each, str) for each in shards) for shards in index.values()):
        raise refuse("shards.index", "its weight_map is not an object of file names")
    _check_shards(path, {shard for shards in index.values() for shard in shards}, shard_format)
    return index


def _as_list(shards: object) -> list:
    return shards if isinstance(shards, list) else [shards]


def _check_shards(path: Path, shards: Iterable[str], shard_format: Format) -> None:
    """Checks that the shards are files in the folder of the index."""
    for shard in sorted(shards):
        if any(character in shard for character in "/\\:\0") or shard in ("", ".", ".."):
            raise refuse("shards.path", f"it names {shard!r}, and shards must be in the folder of the index")
        if not shard.endswith(shard_format.suffixes) or not is_file_name(shard):
            raise refuse("shards.index", f"it names {shard!r}, and only a {shard_format.name} file can be a shard")
        check_inside(path.parent, path.parent / shard)
        if not (path.parent / shard).is_file():
            raise refuse("shards.missing", shard)
