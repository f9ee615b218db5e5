"""safetensors in several files, the shards, with the index that Hugging Face writes next to them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from se_weights.files.contents import FileContents
from se_weights.files.folders import check_inside, is_file_name
from se_weights.files.json_document import DuplicateKey, parse_object
from se_weights.files.limits import HEADER
from se_weights.files.safetensors import single_file as safetensors
from se_weights.refusals import refuse

SHARD = ".safetensors"


@contextmanager
def open_contents(path: Path) -> Iterator[FileContents]:
    """Opens an index: the tensors that it lists, each from the shard that it names.

    Raises:
        WeightsError: The index or a shard is refused; or a tensor is missing, or not listed in the index.
    """
    index = _read_index(path)
    with ExitStack() as stack:
        shards = {
            shard: stack.enter_context(safetensors.open_contents(path.parent / shard))
            for shard in sorted(set(index.values()))
        }
        actual: dict[str, str] = {}
        for shard, contents in shards.items():
            for name in contents.tensors:
                if name in actual:
                    raise refuse("shards.index", f"{name} is in {actual[name]} and in {shard}")
                if name not in index:
                    raise refuse("shards.index", f"{shard} contains {name}, which the index does not list")
                actual[name] = shard
        for name, shard in index.items():
            if actual.get(name) != shard:
                raise refuse("shards.missing", f"{name}, which is in {shard} according to the index")
        tensors = {name: shards[shard].tensors[name] for name, shard in index.items()}
        metadata = {key: text for contents in shards.values() for key, text in contents.metadata.items()}
        yield FileContents(tensors, metadata)


def _read_index(path: Path) -> dict[str, str]:
    """The name of the shard of each tensor."""
    if path.stat().st_size > HEADER:
        raise refuse("shards.index", f"{path.stat().st_size:,} bytes are more than the {HEADER:,} that it may have")
    try:
        document = parse_object(path.read_bytes(), "shards.index")
    except DuplicateKey as error:
        raise refuse("shards.index", str(error)) from error
    index = document.get("weight_map")
    if not isinstance(index, dict) or not all(isinstance(shard, str) for shard in index.values()) or not index:
        raise refuse("shards.index", "its weight_map is not an object of file names")
    for shard in sorted(set(index.values())):
        if any(character in shard for character in "/\\:\0") or shard in ("", ".", ".."):
            raise refuse("shards.path", f"it names {shard!r}, and shards must be in the folder of the index")
        if not shard.endswith(SHARD) or not is_file_name(shard):
            raise refuse("shards.index", f"it names {shard!r}, and only a .safetensors file can be a shard")
        check_inside(path.parent, path.parent / shard)
        if not (path.parent / shard).is_file():
            raise refuse("shards.missing", shard)
    return index


def encode_index(shards: Mapping[str, str], total: int) -> bytes:
    """The JSON of an index.

    Args:
        shards: The name of the shard of each tensor.
        total: The size of all tensors in bytes.
    """
    document = {"metadata": {"total_size": total}, "weight_map": dict(sorted(shards.items()))}
    return (json.dumps(document, indent=2) + "\n").encode()
