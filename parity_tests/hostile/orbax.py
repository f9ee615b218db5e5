"""Cases 107 to 112: folders of Orbax."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

import se_weights
from parity_tests.hostile.case import Case, Good, Make, accepted

SAVE = """
import sys, numpy, jax.numpy, orbax.checkpoint
arrays, folder = sys.argv[1:]
tree = {}
for name, array in numpy.load(arrays).items():
    *branches, leaf = name.split("/")
    branch = tree
    for key in branches:
        branch = branch.setdefault(key, {})
    branch[leaf] = jax.numpy.asarray(array)
each = {"use_ocdbt": False}
for name, options in {"ocdbt": {}, "zarr2": each, "zarr3": each | {"use_zarr3": True}}.items():
    orbax.checkpoint.PyTreeCheckpointer(**options).save(f"{folder}/{name}", tree)
"""
"""Orbax itself makes the good folders, in a process of its own."""


def save(folder: Path, good: Good) -> None:
    arrays = {
        place.names[0]: se_weights.relayout(good.weights[parameter.name], parameter.axes, place.axes)
        for parameter, place in se_weights.DIALECTS["nnx"].places(good.network.architecture).items()
    }
    np.savez(good.folder / "arrays.npz", **arrays)
    command = [sys.executable, "-c", SAVE, str(good.folder / "arrays.npz"), str(folder)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "JAX_PLATFORMS": "cpu"})


def spoilt(layout: str, change: Callable[[Path], object] = lambda path: None, name: str = "weights.orbax") -> Make:
    """The good folder of one of Orbax's three layouts, with something done to what lies in it."""

    def make(folder: Path, good: Good) -> Path:
        good.made("orbax", lambda path: save(path, good))
        shutil.copytree(good.folder / "orbax" / layout, folder / name)
        change(folder / name)
        return folder / name

    return make


def removed(pattern: str) -> Callable[[Path], None]:
    """Without the files of this name; one at least."""

    def change(path: Path) -> None:
        found = sorted(path.glob(pattern))
        assert found, pattern
        for each in found:
            each.unlink()

    return change


def written(name: str, text: str) -> Callable[[Path], None]:
    return lambda path: (path / name).write_text(text) and None


def linked(pattern: str) -> Callable[[Path], None]:
    """The first file of this name as a link to a copy of it outside."""

    def change(path: Path) -> None:
        chunk = sorted(path.glob(pattern))[0]
        chunk.rename(path.parent / "elsewhere")
        chunk.symlink_to(path.parent / "elsewhere")

    return change


def linked_folder(path: Path) -> None:
    (path / "fc.bias").rename(path.parent / "elsewhere")
    (path / "fc.bias").symlink_to(path.parent / "elsewhere")


def piped(path: Path) -> None:
    (path / "fc.bias" / "0").unlink()
    os.mkfifo(path / "fc.bias" / "0")


def cut(path: Path) -> None:
    os.truncate(path / "fc.bias" / "0", 8)


def declared(name: str, **changes: object) -> Callable[[Path], None]:
    """An array's own document, with something else in it."""

    def change(path: Path) -> None:
        document = json.loads((path / name).read_text())
        (path / name).write_text(json.dumps(document | changes))

    return change


def on_other_devices(path: Path) -> None:
    """Every array as it was kept on a TPU."""
    document = json.loads((path / "_sharding").read_text())
    told = json.dumps({"sharding_type": "SingleDeviceSharding", "device_str": "TPU_4096(process=512,(7,7,7,0))"})
    (path / "_sharding").write_text(json.dumps(dict.fromkeys(document, told)))


def unfinished(path: Path) -> None:
    UNMARKED(path)
    declared("_CHECKPOINT_METADATA", commit_timestamp_nsecs=None)(path)


def grown(path: Path) -> None:
    """fc.bias as terabytes, wherever its shape is said."""
    for name in ("_METADATA", "array_metadatas/process_0", "fc.bias/zarr.json"):
        document = (path / name).read_text()
        assert "[5]" in document, name
        (path / name).write_text(document.replace("[5]", f"[{2**40}]"))


def leading_up(path: Path) -> None:
    text = (path / "_METADATA").read_text()
    (path / "_METADATA").write_text(text.replace('"fc"', '"../../fc"').replace("'fc'", "'../../fc'"))


def steps(*numbers: str) -> Make:
    """A folder as CheckpointManager keeps it."""

    def make(folder: Path, good: Good) -> Path:
        (folder / "weights.orbax").mkdir()
        for number in numbers:
            spoilt("ocdbt", name=f"weights.orbax/{number}")(folder, good)
        return folder / "weights.orbax"

    return make


def case(number: str, title: str, make: Make, status: int, reason: str, says: str = "") -> Case:
    return Case(number, title, make, status, reason, says, needs="orbax")


def whole(number: str, title: str, make: Make) -> Case:
    return accepted(number, title, make, needs="orbax")


UNMARKED = removed("commit_success.txt")

CASES = (
    whole("107a", "a whole folder", spoilt("ocdbt")),
    whole("107b", "a whole folder, with a folder for each array", spoilt("zarr2")),
    whole("107c", "the same in zarr's third version", spoilt("zarr3")),
    case(
        "107d",
        "a folder whose saving was never finished, by its name",
        spoilt("ocdbt", unfinished, "weights.orbax.orbax-checkpoint-tmp"),
        3,
        "orbax.uncommitted",
    ),
    case(
        "107e",
        "a folder of which nothing says that it was finished",
        spoilt("ocdbt", unfinished),
        3,
        "orbax.uncommitted",
    ),
    whole("107f", "a folder of before Orbax 0.12.3, which did not mark the end", spoilt("ocdbt", UNMARKED)),
    case(
        "108a",
        "a chunk that is a link out of the folder",
        spoilt("zarr2", linked("fc.bias/0")),
        4,
        "file.link",
        "fc.bias",
    ),
    case("108b", "a chunk of many arrays that is a link", spoilt("ocdbt", linked("d/*")), 4, "file.link"),
    case("108c", "an array's folder that is a link", spoilt("zarr3", linked_folder), 4, "file.link", "fc.bias"),
    case("108d", "a chunk that is a pipe", spoilt("zarr2", piped), 4, "file.link", "fc.bias"),
    case("109a", "a chunk that is not there", spoilt("zarr2", removed("fc.bias/0")), 3, "orbax.missing", "fc"),
    case(
        "109b",
        "a chunk that is not there, in zarr 3",
        spoilt("zarr3", removed("fc.bias/c/0")),
        3,
        "orbax.missing",
        "fc",
    ),
    case(
        "109c",
        "a chunk of many arrays that is not there",
        spoilt("ocdbt", removed("ocdbt.process_0/d/*")),
        3,
        "orbax.missing",
    ),
    case("109d", "half a chunk", spoilt("zarr2", cut), 3, "orbax.missing", "fc"),
    case("110a", "no metadata", spoilt("ocdbt", removed("_METADATA")), 3, "orbax.metadata"),
    case("110b", "metadata that are no JSON", spoilt("ocdbt", written("_METADATA", "{")), 3, "orbax.metadata"),
    case("110c", "metadata of nothing", spoilt("ocdbt", written("_METADATA", "[]")), 3, "orbax.metadata"),
    case("110d", "no manifest of the database", spoilt("ocdbt", removed("manifest.ocdbt")), 3, "orbax.metadata"),
    case(
        "110e",
        "an array's document that is missing",
        spoilt("zarr3", removed("fc.bias/zarr.json")),
        3,
        "orbax.missing",
        "fc",
    ),
    case(
        "110f",
        "an array of another shape than its metadata say",
        spoilt("zarr3", declared("fc.bias/zarr.json", shape=[6])),
        3,
        "orbax.metadata",
        "fc",
    ),
    case(
        "110g",
        "an array of terabytes by its own document",
        spoilt("zarr3", declared("fc.bias/zarr.json", shape=[2**40])),
        3,
        "orbax.metadata",
    ),
    case(
        "110h",
        "an array of another type",
        spoilt("zarr2", declared("fc.bias/.zarray", dtype="<f8")),
        3,
        "orbax.missing",
        "fc",
    ),
    case("110i", "an array's name that leads up", spoilt("zarr2", leading_up), 3, "orbax.metadata", "../../fc"),
    case(
        "110j",
        "an array of terabytes, wherever its shape is said",
        spoilt("zarr3", grown),
        4,
        "file.bomb",
    ),
    whole("111", "arrays that were kept on devices which are not here", spoilt("zarr3", on_other_devices)),
    case("112a", "several steps of a training run", steps("1000", "2000"), 2, "orbax.steps", "2000"),
    case("112b", "no step at all", steps(), 2, "orbax.steps"),
)
