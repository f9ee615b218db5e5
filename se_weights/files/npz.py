"""`.npz`, through numpy; metadata travels as the comment of the zip archive, which numpy does not look at."""

import json
import zipfile
from pathlib import Path

import numpy as np

from se_weights.errors import MalformedFile
from se_weights.files.stored import FLOATS, Format, Stored


def read(path: Path) -> Stored:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            tensors = {name: archive[name] for name in archive.files}
        with zipfile.ZipFile(path) as archive:
            return Stored(tensors, json.loads(archive.comment or b"{}"))
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise MalformedFile(f"{path} is not a readable npz file: {error}") from error


def write(path: Path, stored: Stored) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **stored.tensors)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = json.dumps(dict(stored.metadata)).encode()


NPZ = Format("npz", (".npz",), ("torch", "keras", "keras2", "flax"), FLOATS, read, write)
