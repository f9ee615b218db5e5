"""Folders as Hugging Face publishes them: weights in safetensors, in several shards or one, beside `config.json`.

What is written here torch's own DCP reads too (`torch.distributed.checkpoint.HuggingFaceStorageReader`).
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from se_weights.files.safetensors import sharded as shards
from se_weights.files.safetensors import single_file as safetensors
from se_weights.files.stored import FileContents, Tensor

ONE, SHARD, INDEX = "model.safetensors", "model-{number:05d}-of-{count:05d}.safetensors", "model.safetensors.index.json"
CONFIG = "config.json"

SHARD_BYTES = 5 * 10**9
"""Hugging Face's own: what a shard holds at most, unless one tensor is larger."""


@contextmanager
def open_contents(path: Path) -> Iterator[FileContents]:
    """A folder that `write` made."""
    one = path / ONE
    with safetensors.open_contents(one) if one.is_file() else shards.open_contents(path / INDEX) as stored:
        yield stored


def write(path: Path, stored: FileContents, shard_bytes: int = SHARD_BYTES) -> None:
    path.mkdir()
    parts = _parts(stored, shard_bytes)
    if len(parts) == 1:
        safetensors.write(path / ONE, stored)
    else:
        names = [SHARD.format(number=number, count=len(parts)) for number in range(1, len(parts) + 1)]
        for name, part in zip(names, parts, strict=True):
            safetensors.write(path / name, FileContents(part, stored.metadata))
        places = {tensor: name for name, part in zip(names, parts, strict=True) for tensor in part}
        total = sum(tensor.nbytes for tensor in stored.tensors.values())
        (path / INDEX).write_bytes(shards.index_document(places, total))
    (path / CONFIG).write_text(json.dumps(_config(stored), indent=2) + "\n")


def _parts(stored: FileContents, most: int) -> list[dict[str, Tensor]]:
    """The tensors in their order, cut where a shard would grow too large."""
    parts: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in stored.tensors.items():
        if parts[-1] and size + tensor.nbytes > most:
            parts.append({})
            size = 0
        parts[-1][name] = tensor
        size += tensor.nbytes
    return parts


def _config(stored: FileContents) -> dict[str, Any]:
    """What a reader of the folder must know, under the names that timm gives it (1.0.31, models/_hub.py)."""
    facts = json.loads(stored.metadata.get("architecture", "{}"))
    known = json.loads(stored.metadata.get("preprocessing", "{}"))
    shown = {"mean": "mean", "std": "std", "interpolation": "interpolation", "crop": "crop_pct"}
    pretrained = {theirs: known[ours] for ours, theirs in shown.items() if known.get("maximum") == 1.0}
    return {
        "architecture": stored.metadata.get("model"),
        "num_classes": facts.get("num_classes"),
        "pretrained_cfg": {"num_classes": facts.get("num_classes"), **pretrained},
        "se_resnet": facts,
    }
