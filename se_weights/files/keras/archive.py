"""`.keras`, the zip that holds a Keras model's configuration beside its weights.

Read without Keras: the configuration is taken for its facts and never deserialised. Written by Keras itself, in a
process of its own, since only Keras knows how it describes a model.
"""

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from se_weights.errors import MissingExtra
from se_weights.files import zip_archive as zipped
from se_weights.files.framework_process import run_writer
from se_weights.files.hdf5 import listing as hdf5
from se_weights.files.json_document import DuplicateKey, parse_metadata, parse_object
from se_weights.files.safetensors import single_file as safetensors
from se_weights.files.stored import FileContents
from se_weights.refusals import refuse

WEIGHTS, SHARDED = "model.weights.h5", "model.weights.json"
CONFIG, ABOUT = "config.json", "metadata.json"
METADATA = "se_resnet.json"

DATE = {"date_saved": "1980-01-01@00:00:00"}
"""For equal weights to make equal files; zip archives cannot hold an earlier one."""


@contextmanager
def open_contents(path: Path, list_file: hdf5.ListFile = hdf5.list_sandboxed) -> Iterator[FileContents]:
    with zipped.open_archive(path) as archive, tempfile.TemporaryDirectory() as folder:
        if WEIGHTS not in archive.records:
            reason = "keras.sharded" if SHARDED in archive.records else "keras.archive"
            raise refuse(reason, f"it holds no {WEIGHTS}")
        metadata = _metadata(archive)
        weights = Path(folder, WEIGHTS)
        with weights.open("wb") as file:
            for piece in archive.pieces(WEIGHTS):
                file.write(piece)
        with hdf5.open_listing(weights, list_file) as listing:
            yield FileContents(listing.contents.tensors, metadata)


@contextmanager
def reopen_contents(path: Path) -> Iterator[FileContents]:
    with open_contents(path, hdf5.list_in_process) as stored:
        yield stored


def _metadata(archive: zipped.Archive) -> dict[str, str]:
    """What we wrote; or the architecture that the configuration of a model of se_tf tells."""
    if METADATA in archive.records:
        return parse_metadata(archive.read_document(METADATA))
    if CONFIG not in archive.records:
        raise refuse("keras.archive", f"it holds no {CONFIG}")
    try:
        config = parse_object(archive.read_document(CONFIG), "keras.archive")
    except DuplicateKey as error:
        raise refuse("keras.archive", f"{CONFIG}: {error}") from error
    inner = config.get("config")
    architecture = inner.get("architecture") if isinstance(inner, dict) else None
    return {"architecture": json.dumps(architecture)} if architecture else {}


def write(path: Path, stored: FileContents) -> None:
    if not (find_spec("keras") and find_spec("tensorflow")):
        raise MissingExtra("writing .keras needs Keras: pip install 'se-resnet[tf]', or write .weights.h5 instead")
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder, "weights.safetensors"), Path(folder, "model.keras")
        safetensors.write(source, stored)
        run_writer("Keras", "-m", "se_tf.archive", str(source), str(made))
        with zipfile.ZipFile(made) as theirs, path.open("wb") as file, zipfile.ZipFile(file, "w") as archive:
            for name in theirs.namelist():
                with theirs.open(name) as record, archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as copy:
                    copy.write(_undated(record.read())) if name == ABOUT else shutil.copyfileobj(record, copy)
            archive.writestr(zipfile.ZipInfo(METADATA), json.dumps(dict(stored.metadata)))


def _undated(about: bytes) -> bytes:
    return json.dumps({**json.loads(about), **DATE}).encode()
