"""Cases 44 to 47: sharded safetensors."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from parity_tests.hostile.case import Case, Make, ValidFiles, accepted
from parity_tests.hostile.safetensors import safetensors_bytes

INDEX = "model.safetensors.index.json"
Files = dict[str, dict[str, np.ndarray]]


def halves(valid: ValidFiles) -> Files:
    names = sorted(valid.weights)
    shards = names[: len(names) // 2], names[len(names) // 2 :]
    return {
        f"model-{number:05}-of-00002.safetensors": {name: valid.weights[name] for name in shard}
        for number, shard in enumerate(shards, start=1)
    }


def sharded(
    index: Callable[[dict[str, Any]], Any] = lambda index: index, files: Callable[[Files], object] = lambda files: None
) -> Make:
    """Two shards and their index, with changes in the index or in the shards."""

    def make(folder: Path, valid: ValidFiles) -> Path:
        shards, place = halves(valid), folder / "shards"
        place.mkdir()
        listed = {"metadata": {}, "weight_map": {name: shard for shard in shards for name in shards[shard]}}
        files(shards)
        for shard, tensors in shards.items():
            (place / shard).write_bytes(safetensors_bytes(tensors))
        changed = index(listed)
        (place / INDEX).write_text(changed if isinstance(changed, str) else json.dumps(changed))
        return place / INDEX

    return make


def named(shard: str) -> Make:
    """An index that maps fc.bias to this file; such a file exists in the folder and next to it."""

    def make(folder: Path, valid: ValidFiles) -> Path:
        def elsewhere(index: dict[str, Any]) -> dict[str, Any]:
            index["weight_map"]["fc.bias"] = shard
            return index

        path = sharded(elsewhere)(folder, valid)
        for place in (folder, path.parent):
            (place / "secret.safetensors").write_bytes(safetensors_bytes({"fc.bias": valid.weights["fc.bias"]}))
        return path

    return make


def linked(folder: Path, valid: ValidFiles) -> Path:
    """A shard that is a link to a file outside of the folder."""
    path = sharded()(folder, valid)
    shard = path.with_name("model-00002-of-00002.safetensors")
    shard.rename(folder / "elsewhere.safetensors")
    shard.symlink_to("../elsewhere.safetensors")
    return path


def two_ranks(offset: int) -> Make:
    """Shards in which two ranks of torch's DCP save parts of fc.weight, the second declared to begin at this row."""

    def make(folder: Path, valid: ValidFiles) -> Path:
        path = folder / "weights"
        path.mkdir()
        rows = valid.weights["fc.weight"]
        rest = {name: array for name, array in valid.weights.items() if name != "fc.weight"}
        for rank, (tensors, begin) in enumerate(
            [({**rest, "fc.weight": rows[:3]}, 0), ({"fc.weight": rows[3:]}, offset)]
        ):
            places = {name: {"saved_offsets": [0] * array.ndim} for name, array in tensors.items()}
            places["fc.weight"]["saved_offsets"] = [begin, 0]
            metadata = {"DCP_SHARDING_INFO": json.dumps(places), "DCP_VERSION": "1.0"}
            name = f"shard-{rank + 1:05}-model-00001-of-00001.safetensors"
            (path / name).write_bytes(safetensors_bytes(tensors, **metadata))
        return path

    return make


def without(*names: str) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        for name in names:
            for shard in [files, *files.values()]:
                shard.pop(name, None)

    return change


def duplicate(files: Files) -> None:
    """Copies the first tensor of the first shard into the second one."""
    first, second = files.values()
    second.update(dict([next(iter(first.items()))]))


def unlisted(index: dict[str, Any]) -> dict[str, Any]:
    del index["weight_map"]["fc.bias"]
    return index


CASES = (
    Case("44a", "a shard one folder up", named("../secret.safetensors"), 4, "shards.path", says="../secret"),
    Case("44b", "a shard by its whole path", named("/etc/passwd"), 4, "shards.path", says="/etc/passwd"),
    Case("44c", "a shard on another drive", named("C:secret.safetensors"), 4, "shards.path", says="C:"),
    Case("44d", "a shard on another machine", named(r"\\host\share\a.safetensors"), 4, "shards.path", says="host"),
    Case("44e", "a shard up by Windows' way", named(r"..\secret.safetensors"), 4, "shards.path", says="secret"),
    Case("44f", "a shard that is a link out of the folder", linked, 4, "file.link"),
    Case("45", "a shard that is a pickle by its name", named("pytorch_model.bin"), 3, "shards.index", says=".bin"),
    accepted("46a", "two whole shards", sharded()),
    Case(
        "46b",
        "a shard that is not there",
        sharded(files=without("model-00002-of-00002.safetensors")),
        3,
        "shards.missing",
    ),
    Case(
        "46c",
        "a tensor that its shard does not hold",
        sharded(files=without("fc.bias")),
        3,
        "shards.missing",
        says="fc.bias",
    ),
    Case("46d", "a tensor in two shards", sharded(files=duplicate), 3, "shards.index", says="bn1.bias"),
    Case("46e", "a tensor that the index does not list", sharded(unlisted), 3, "shards.index", says="fc.bias"),
    accepted("46f", "the pieces of two ranks", two_ranks(3)),
    Case("46g", "pieces with a hole between them", two_ranks(4), 3, "shards.pieces", says="fc.weight"),
    Case("46h", "pieces that overlap", two_ranks(2), 3, "shards.pieces", says="fc.weight"),
    Case("47a", "an index that is a list", sharded(lambda index: [index]), 3, "shards.index"),
    Case("47b", "an index of nothing", sharded(lambda index: {"weight_map": None}), 3, "shards.index"),
    Case("47c", "an index of numbers", sharded(lambda index: {"weight_map": {"fc.bias": 1}}), 3, "shards.index"),
    Case("47d", "an index that is no JSON", sharded(lambda index: "weight_map"), 3, "shards.index"),
)
