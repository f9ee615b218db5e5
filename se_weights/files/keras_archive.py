"""`.keras`, the zip that holds a Keras model's configuration beside its weights.

Read without Keras: the configuration is taken for its facts and never deserialised. Written by Keras itself, in a
process of its own, since only Keras knows how it describes a model.
"""

import json
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

from se_weights.errors import MalformedFile, MissingExtra, WriteFailed
from se_weights.files import hdf5, safetensors
from se_weights.files.stored import ALL_FLOATS, Format, Stored

WEIGHTS = "model.weights.h5"
METADATA = "se_resnet.json"


def read(path: Path) -> Stored:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            stored = hdf5.read(BytesIO(archive.read(WEIGHTS)))
            if METADATA in names:
                return Stored(stored.tensors, json.loads(archive.read(METADATA)))
            config = json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise MalformedFile(f"{path} is not a readable .keras file: {error}") from error
    architecture = config.get("config", {}).get("architecture") if isinstance(config, dict) else None
    return Stored(stored.tensors, {"architecture": json.dumps(architecture)} if architecture else {})


def write(path: Path, stored: Stored) -> None:
    if not (find_spec("keras") and find_spec("tensorflow")):
        raise MissingExtra("writing .keras needs Keras: pip install 'se-resnet[tf]', or write .weights.h5 instead")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "weights.safetensors")
        safetensors.write(source, stored)
        worker = subprocess.run(
            [sys.executable, "-m", "se_tf.archive", str(source), str(path)], capture_output=True, text=True, check=False
        )
    if worker.returncode:
        reason = worker.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise WriteFailed(f"Keras could not write {path}: {reason[0]}")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(METADATA, json.dumps(dict(stored.metadata)))


KERAS_ARCHIVE = Format("Keras archive", (".keras",), ("keras",), ALL_FLOATS, read, write)
