"""Folders of torch's DCP in safetensors: each rank's shard of a tensor is in that rank's own file.

`torch.distributed.checkpoint.HuggingFaceStorageWriter` writes the offsets of the shards into the metadata of the files
(torch 2.13, _hf_utils.py).
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from se_weights.files.contents import FileContents
from se_weights.files.folders import check_inside
from se_weights.files.json_document import DuplicateKey, parse_object
from se_weights.files.safetensors import single_file as safetensors
from se_weights.files.torch.joined_shards import Shard, joined_tensor
from se_weights.refusals import refuse

SHARDING_INFO = "DCP_SHARDING_INFO"
"""The metadata key of the offsets."""

SUFFIX = ".safetensors"


@contextmanager
def open_contents(folder: Path) -> Iterator[FileContents]:
    """Opens a folder: the tensors whose shards are in its files, joined when they are loaded. Raises WeightsError."""
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    for path in paths:
        check_inside(folder, path)
    with ExitStack() as stack:
        shards: dict[str, list[Shard]] = {}
        for path in paths:
            contents = stack.enter_context(safetensors.open_contents(path))
            for name, offset in _read_offsets(path, contents).items():
                shards.setdefault(name, []).append((offset, contents.tensors[name]))
        yield FileContents({name: joined_tensor(name, parts) for name, parts in shards.items()})


def _read_offsets(path: Path, contents: FileContents) -> Mapping[str, tuple[int, ...]]:
    try:
        info = parse_object(contents.metadata.get(SHARDING_INFO, "{}"), "shards.pieces")
    except DuplicateKey as error:
        raise refuse("shards.pieces", str(error)) from error
    offsets = {}
    for name, tensor in contents.tensors.items():
        match info.get(name):
            case {"saved_offsets": [*offset]} if len(offset) == len(tensor.shape) and all(map(_is_offset, offset)):
                offsets[name] = tuple(offset)
            case None if not info:
                offsets[name] = (0,) * len(tensor.shape)
            case entry:
                raise refuse("shards.pieces", f"{path.name} places {name} at {entry}")
    return offsets


def _is_offset(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
