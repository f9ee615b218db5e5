"""Weights in several files, the shards, with an index in JSON: of Hugging Face, accelerate and Keras.

The index of Hugging Face and accelerate names the shard of each tensor. That of Keras names the shard, or several, of
each group of tensors (keras 3.15, saving/saving_lib.py).
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from se_weights.files.contents import FileContents
from se_weights.files.folders import check_inside, is_file_name
from se_weights.files.formats import FORMATS, HDF5
from se_weights.files.json_document import DuplicateKey, parse_object
from se_weights.files.limits import HEADER
from se_weights.refusals import refuse


@contextmanager
def open_contents(path: Path) -> Iterator[FileContents]:
    """Opens an index: the tensors that it lists, each from the shard that it names.

    Raises:
        WeightsError: The index or a shard is refused; or a tensor is missing, or not listed in the index.
    """
    suffix = _shard_suffix(path)
    shard_format = next(known for known in FORMATS if suffix in known.suffixes)
    index = _read_index(path, suffix)
    with ExitStack() as stack:
        names = _shards_of(index)
        _check_present(path, names)
        shards = {name: stack.enter_context(shard_format.open(path.parent / name)) for name in names}
        actual: dict[str, str] = {}
        for shard, contents in shards.items():
            for name in contents.tensors:
                if name in actual:
                    raise refuse("shards.index", f"{name} is in {actual[name]} and in {shard}")
                actual[name] = shard
        if shard_format is not HDF5:
            _check_listed(index, actual)
        tensors = {name: shards[shard].tensors[name] for name, shard in actual.items()}
        metadata = {key: text for contents in shards.values() for key, text in contents.metadata.items()}
        architectures = {key: text for contents in shards.values() for key, text in contents.architectures.items()}
        yield FileContents(tensors, metadata, architectures=architectures)


def shard_names(path: Path) -> list[str]:
    """The names of the files that an index names. Raises WeightsError if the index is refused."""
    return _shards_of(_read_index(path, _shard_suffix(path)))


def _shard_suffix(path: Path) -> str:
    return next(known.shards for known in FORMATS if known.shards and path.name.endswith(known.suffixes))


def _shards_of(index: Mapping[str, list[str]]) -> list[str]:
    return sorted({shard for shards in index.values() for shard in shards})


def _check_listed(index: Mapping[str, list[str]], actual: Mapping[str, str]) -> None:
    """Checks that the tensors are those that the index lists, each in its shard."""
    for name, shard in actual.items():
        if name not in index:
            raise refuse("shards.index", f"{shard} contains {name}, which the index does not list")
    for name, (shard, *_) in index.items():
        if actual.get(name) != shard:
            raise refuse("shards.missing", f"{name}, which is in {shard} according to the index")


def _read_index(path: Path, suffix: str) -> dict[str, list[str]]:
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
    _check_names(_shards_of(index), suffix)
    return index


def _as_list(shards: object) -> list:
    return shards if isinstance(shards, list) else [shards]


def _check_names(shards: Iterable[str], suffix: str) -> None:
    """Checks that the names of shards can be files in the folder of the index."""
    for shard in shards:
        if any(character in shard for character in "/\\:\0") or shard in ("", ".", ".."):
            raise refuse("shards.path", f"it names {shard!r}, and shards must be in the folder of the index")
        if not shard.endswith(suffix) or not is_file_name(shard):
            raise refuse("shards.index", f"it names {shard!r}, and only a {suffix} file can be a shard")


def _check_present(path: Path, shards: Iterable[str]) -> None:
    """Checks that the shards lie in the folder of the index."""
    for shard in shards:
        check_inside(path.parent, path.parent / shard)
        if not (path.parent / shard).is_file():
            raise refuse("shards.missing", shard)
