"""Folders as Hugging Face publishes them: weights in safetensors, in several shards or one, beside `config.json`.

What is written here torch's own DCP reads too (`torch.distributed.checkpoint.HuggingFaceStorageReader`).
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from se_weights.files import safetensors
from se_weights.files.shards import index_document, open_index
from se_weights.files.stored import ALL_FLOATS, Format, Stored, Tensor

ONE, SHARD, INDEX = "model.safetensors", "model-{number:05d}-of-{count:05d}.safetensors", "model.safetensors.index.json"
CONFIG = "config.json"

SHARD_BYTES = 5 * 10**9
"""Hugging Face's own: what a shard holds at most, unless one tensor is larger."""


@contextmanager
def open_folder(path: Path) -> Iterator[Stored]:
    """A folder that `write` made."""
    one = path / ONE
    with safetensors.open_safetensors(one) if one.is_file() else open_index(path / INDEX) as stored:
        yield stored


def write(path: Path, stored: Stored, shard_bytes: int = SHARD_BYTES) -> None:
    path.mkdir()
    shards = _shards(stored, shard_bytes)
    if len(shards) == 1:
        safetensors.write(path / ONE, stored)
    else:
        names = [SHARD.format(number=number, count=len(shards)) for number in range(1, len(shards) + 1)]
        for name, shard in zip(names, shards, strict=True):
            safetensors.write(path / name, Stored(shard, stored.metadata))
        places = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        total = sum(tensor.nbytes for tensor in stored.tensors.values())
        (path / INDEX).write_bytes(index_document(places, total))
    (path / CONFIG).write_text(json.dumps(_config(stored), indent=2) + "\n")


def _shards(stored: Stored, most: int) -> list[dict[str, Tensor]]:
    """The tensors in their order, cut where a shard would grow too large."""
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in stored.tensors.items():
        if shards[-1] and size + tensor.nbytes > most:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    return shards


def _config(stored: Stored) -> dict[str, Any]:
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


HUGGINGFACE = Format(
    "Hugging Face folder",
    (".hf",),
    ("torch", "keras", "keras2", "flax"),
    ALL_FLOATS,
    open_folder,
    write,
    folder=True,
)
