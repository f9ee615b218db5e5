"""safetensors in several files, by the index that Hugging Face puts beside them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from se_weights.files.folders import expect_inside, is_file_name
from se_weights.files.json_document import DuplicateKey, parse_object
from se_weights.files.limits import HEADER
from se_weights.files.safetensors import single_file as safetensors
from se_weights.files.stored import FileContents
from se_weights.refusals import refuse

SHARD = ".safetensors"


@contextmanager
def open_contents(path: Path) -> Iterator[FileContents]:
    """The tensors that the index names, each in the shard that it names, and no others."""
    shards = _shards(path)
    with ExitStack() as stack:
        opened = {
            name: stack.enter_context(safetensors.open_contents(path.parent / name))
            for name in sorted(set(shards.values()))
        }
        held: dict[str, str] = {}
        for shard, stored in opened.items():
            for name in stored.tensors:
                if name in held:
                    raise refuse("shards.index", f"{name} lies in {held[name]} and in {shard}")
                if name not in shards:
                    raise refuse("shards.index", f"{shard} holds {name}, of which the index says nothing")
                held[name] = shard
        for name, shard in shards.items():
            if held.get(name) != shard:
                raise refuse("shards.missing", f"{name}, which the index places in {shard}")
        tensors = {name: opened[shard].tensors[name] for name, shard in shards.items()}
        metadata = {key: text for stored in opened.values() for key, text in stored.metadata.items()}
        yield FileContents(tensors, metadata)


def _shards(path: Path) -> dict[str, str]:
    """The shard of each tensor."""
    if path.stat().st_size > HEADER:
        raise refuse("shards.index", f"{path.stat().st_size:,} bytes are more than the {HEADER:,} that it may have")
    try:
        index = parse_object(path.read_bytes(), "shards.index")
    except DuplicateKey as error:
        raise refuse("shards.index", str(error)) from error
    shards = index.get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()) or not shards:
        raise refuse("shards.index", "its weight_map is not an object of file names")
    for shard in sorted(set(shards.values())):
        if any(sign in shard for sign in "/\\:\0") or shard in ("", ".", ".."):
            raise refuse("shards.path", f"it names {shard!r}, and shards lie beside the index")
        if not shard.endswith(SHARD) or not is_file_name(shard):
            raise refuse("shards.index", f"it names {shard!r}, and only a file .safetensors can be a shard")
        expect_inside(path.parent, path.parent / shard)
        if not (path.parent / shard).is_file():
            raise refuse("shards.missing", shard)
    return shards


def index_document(shards: Mapping[str, str], total: int) -> bytes:
    """An index: the shard of each tensor, and the bytes of all."""
    document = {"metadata": {"total_size": total}, "weight_map": dict(sorted(shards.items()))}
    return (json.dumps(document, indent=2) + "\n").encode()
