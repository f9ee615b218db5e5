"""Cases 107 to 112: Orbax checkpoints."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

import se_weights
from parity_tests.hostile.case import Case, Make, ValidFiles, accepted

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
"""Program that saves the valid folders with Orbax, in a separate process."""


def save(folder: Path, valid: ValidFiles) -> None:
    arrays = {
        place.names[0]: se_weights.relayout(valid.weights[parameter.name], parameter.axes, place.axes)
        for parameter, place in se_weights.DIALECTS["nnx"].places(valid.network.architecture).items()
    }
    np.savez(valid.folder / "arrays.npz", **arrays)
    command = [sys.executable, "-c", SAVE, str(valid.folder / "arrays.npz"), str(folder)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "JAX_PLATFORMS": "cpu"})


def changed_folder(
    layout: str, change: Callable[[Path], object] = lambda path: None, name: str = "weights.orbax"
) -> Make:
    """The valid folder in one of the three layouts of Orbax, changed by `change`."""

    def make(folder: Path, valid: ValidFiles) -> Path:
        valid.cached("orbax", lambda path: save(path, valid))
        shutil.copytree(valid.folder / "orbax" / layout, folder / name)
        change(folder / name)
        return folder / name

    return make


def removed(pattern: str) -> Callable[[Path], None]:
    """Removes the files that match a pattern, at least one."""

    def change(path: Path) -> None:
        files = sorted(path.glob(pattern))
        assert files, pattern
        for file in files:
            file.unlink()

    return change


def written(name: str, text: str) -> Callable[[Path], None]:
    return lambda path: (path / name).write_text(text) and None


def linked(pattern: str) -> Callable[[Path], None]:
    """Replaces the first file that matches by a link to it outside of the folder."""

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
    """Changes fields of an array's JSON document."""

    def change(path: Path) -> None:
        document = json.loads((path / name).read_text())
        (path / name).write_text(json.dumps(document | changes))

    return change


def on_other_devices(path: Path) -> None:
    """Declares that every array was on a TPU."""
    document = json.loads((path / "_sharding").read_text())
    sharding = json.dumps({"sharding_type": "SingleDeviceSharding", "device_str": "TPU_4096(process=512,(7,7,7,0))"})
    (path / "_sharding").write_text(json.dumps(dict.fromkeys(document, sharding)))


def unfinished(path: Path) -> None:
    UNMARKED(path)
    declared("_CHECKPOINT_METADATA", commit_timestamp_nsecs=None)(path)


def with_huge_shape(path: Path) -> None:
    """Declares terabytes for fc.bias in every document that contains its shape."""
    for name in ("_METADATA", "array_metadatas/process_0", "fc.bias/zarr.json"):
        document = (path / name).read_text()
        assert "[5]" in document, name
        (path / name).write_text(document.replace("[5]", f"[{2**40}]"))


def leading_up(path: Path) -> None:
    text = (path / "_METADATA").read_text()
    (path / "_METADATA").write_text(text.replace('"fc"', '"../../fc"').replace("'fc'", "'../../fc'"))


def steps(*numbers: str) -> Make:
    """A folder of these steps, as CheckpointManager saves it."""

    def make(folder: Path, valid: ValidFiles) -> Path:
        (folder / "weights.orbax").mkdir()
        for number in numbers:
            changed_folder("ocdbt", name=f"weights.orbax/{number}")(folder, valid)
        return folder / "weights.orbax"

    return make


def refused(number: str, title: str, make: Make, status: int, reason: str, says: str = "") -> Case:
    return Case(number, title, make, status, reason, says, made_with="orbax")


def converted(number: str, title: str, make: Make) -> Case:
    return accepted(number, title, make, made_with="orbax")


UNMARKED = removed("commit_success.txt")

CASES = (
    converted("107a", "a whole folder", changed_folder("ocdbt")),
    converted("107b", "a whole folder, with a folder for each array", changed_folder("zarr2")),
    converted("107c", "the same in zarr's third version", changed_folder("zarr3")),
    refused(
        "107d",
        "a folder whose saving was never finished, by its name",
        changed_folder("ocdbt", unfinished, "weights.orbax.orbax-checkpoint-tmp"),
        3,
        "orbax.uncommitted",
    ),
    refused(
        "107e",
        "a folder of which nothing says that it was finished",
        changed_folder("ocdbt", unfinished),
        3,
        "orbax.uncommitted",
    ),
    converted("107f", "a folder of before Orbax 0.12.3, which did not mark the end", changed_folder("ocdbt", UNMARKED)),
    refused(
        "108a",
        "a chunk that is a link out of the folder",
        changed_folder("zarr2", linked("fc.bias/0")),
        4,
        "file.link",
        "fc.bias",
    ),
    refused("108b", "a chunk of many arrays that is a link", changed_folder("ocdbt", linked("d/*")), 4, "file.link"),
    refused(
        "108c", "an array's folder that is a link", changed_folder("zarr3", linked_folder), 4, "file.link", "fc.bias"
    ),
    refused("108d", "a chunk that is a pipe", changed_folder("zarr2", piped), 4, "file.link", "fc.bias"),
    refused(
        "109a", "a chunk that is not there", changed_folder("zarr2", removed("fc.bias/0")), 3, "orbax.missing", "fc"
    ),
    refused(
        "109b",
        "a chunk that is not there, in zarr 3",
        changed_folder("zarr3", removed("fc.bias/c/0")),
        3,
        "orbax.missing",
        "fc",
    ),
    refused(
        "109c",
        "a chunk of many arrays that is not there",
        changed_folder("ocdbt", removed("ocdbt.process_0/d/*")),
        3,
        "orbax.missing",
    ),
    refused("109d", "half a chunk", changed_folder("zarr2", cut), 3, "orbax.missing", "fc"),
    refused("110a", "no metadata", changed_folder("ocdbt", removed("_METADATA")), 3, "orbax.metadata"),
    refused(
        "110b", "metadata that are no JSON", changed_folder("ocdbt", written("_METADATA", "{")), 3, "orbax.metadata"
    ),
    refused("110c", "metadata of nothing", changed_folder("ocdbt", written("_METADATA", "[]")), 3, "orbax.metadata"),
    refused(
        "110d", "no manifest of the database", changed_folder("ocdbt", removed("manifest.ocdbt")), 3, "orbax.metadata"
    ),
    refused(
        "110e",
        "an array's document that is missing",
        changed_folder("zarr3", removed("fc.bias/zarr.json")),
        3,
        "orbax.missing",
        "fc",
    ),
    refused(
        "110f",
        "an array of another shape than its metadata say",
        changed_folder("zarr3", declared("fc.bias/zarr.json", shape=[6])),
        3,
        "orbax.metadata",
        "fc",
    ),
    refused(
        "110g",
        "an array of terabytes by its own document",
        changed_folder("zarr3", declared("fc.bias/zarr.json", shape=[2**40])),
        3,
        "orbax.metadata",
    ),
    refused(
        "110h",
        "an array of another type",
        changed_folder("zarr2", declared("fc.bias/.zarray", dtype="<f8")),
        3,
        "orbax.missing",
        "fc",
    ),
    refused(
        "110i", "an array's name that leads up", changed_folder("zarr2", leading_up), 3, "orbax.metadata", "../../fc"
    ),
    refused(
        "110j",
        "an array of terabytes, wherever its shape is said",
        changed_folder("zarr3", with_huge_shape),
        4,
        "file.bomb",
    ),
    converted("111", "arrays that were kept on devices which are not here", changed_folder("zarr3", on_other_devices)),
    converted("112a", "several steps of a training run, of which the newest is read", steps("1000", "2000")),
    refused("112b", "no step at all", steps(), 2, "orbax.steps"),
)
