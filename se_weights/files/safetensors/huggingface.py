"""Folders as Hugging Face publishes them: weights in one or several safetensors files, with a `config.json`.

torch's DCP can read them, too (`torch.distributed.checkpoint.HuggingFaceStorageReader`).
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from se_weights.files import sharded
from se_weights.files.contents import FileContents, Tensor
from se_weights.files.safetensors import single_file as safetensors

SINGLE_FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD = "model-{number:05d}-of-{count:05d}.safetensors"
CONFIG = "config.json"

SHARD_BYTES = 5 * 10**9
"""Hugging Face's default for the largest size of a shard; a single larger tensor has a shard of its own."""

PRETRAINED_KEYS = {
    "mean": "mean",
    "std": "std",
    "interpolation": "interpolation",
    "crop": "crop_pct",
    "crop_mode": "crop_mode",
}
"""Keys of our preprocessing metadata, and of timm's `pretrained_cfg`."""


@contextmanager
def open_contents(path: Path) -> Iterator[FileContents]:
    """Opens a folder that `write` has written. Raises WeightsError."""
    single = path / SINGLE_FILE
    opened = safetensors.open_contents(single) if single.is_file() else sharded.open_contents(path / INDEX)
    with opened as contents:
        yield contents


def write(path: Path, contents: FileContents, shard_bytes: int = SHARD_BYTES) -> None:
    """Writes a folder.

    Args:
        path: The folder, which must not exist.
        contents: The tensors and metadata.
        shard_bytes: The largest size of a shard.
    """
    path.mkdir()
    shards = _split(contents, shard_bytes)
    if len(shards) == 1:
        safetensors.write(path / SINGLE_FILE, contents)
    else:
        names = [SHARD.format(number=number, count=len(shards)) for number in range(1, len(shards) + 1)]
        for name, tensors in zip(names, shards, strict=True):
            safetensors.write(path / name, FileContents(tensors, contents.metadata))
        index = {tensor: name for name, tensors in zip(names, shards, strict=True) for tensor in tensors}
        total = sum(tensor.nbytes for tensor in contents.tensors.values())
        (path / INDEX).write_bytes(_encode_index(index, total))
    (path / CONFIG).write_text(json.dumps(_config(contents), indent=2) + "\n")


def _split(contents: FileContents, shard_bytes: int) -> list[dict[str, Tensor]]:
    """The tensors in their order, in shards of at most `shard_bytes`."""
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in contents.tensors.items():
        if shards[-1] and size + tensor.nbytes > shard_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    return shards


def _config(contents: FileContents) -> dict[str, Any]:
    """`config.json` with the keys of timm (1.0.31, models/_hub.py), and our own config."""
    config = json.loads(contents.metadata.get("architecture", "{}"))
    preprocessing = json.loads(contents.metadata.get("preprocessing", "{}"))
    pretrained = {}
    if preprocessing.get("maximum") == 1.0:
        pretrained = {timm: preprocessing[ours] for ours, timm in PRETRAINED_KEYS.items() if ours in preprocessing}
        pretrained["input_size"] = [config.get("in_channels", 3), preprocessing["size"], preprocessing["size"]]
    return {
        "architecture": contents.metadata.get("model"),
        "num_classes": config.get("num_classes"),
        "pretrained_cfg": {"num_classes": config.get("num_classes"), **pretrained},
        "se_resnet": config,
    }


def _encode_index(shards: Mapping[str, str], total: int) -> bytes:
    """The JSON of an index.

    Args:
        shards: The name of the shard of each tensor.
        total: The size of all tensors in bytes.
    """
    document = {"metadata": {"total_size": total}, "weight_map": dict(sorted(shards.items()))}
    return (json.dumps(document, indent=2) + "\n").encode()
