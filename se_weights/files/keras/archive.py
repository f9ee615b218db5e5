"""`.keras` files, zip archives of a Keras model's config and weights.

Read without Keras: only the architecture is taken from the config, which is never deserialized. Written by Keras, in a
separate process, since only Keras can write the config of a model.
"""

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from se_weights.errors import MissingExtra, UnsupportedFormat
from se_weights.files import zip_archive as zipped
from se_weights.files.contents import FileContents
from se_weights.files.hdf5 import listing as hdf5
from se_weights.files.json_document import DuplicateKey, parse_metadata, parse_object
from se_weights.files.processes.framework_process import run_writer
from se_weights.files.safetensors import single_file as safetensors
from se_weights.refusals import refuse

WEIGHTS, SHARDED = "model.weights.h5", "model.weights.json"
CONFIG, KERAS_METADATA = "config.json", "metadata.json"
METADATA = "se_resnet.json"

DATE = {"date_saved": "1980-01-01@00:00:00"}
"""Replaces the date, so that equal weights make equal files. Zip archives cannot hold an earlier one."""


@contextmanager
def open_contents(path: Path, list_file: hdf5.ListFile = hdf5.list_sandboxed) -> Iterator[FileContents]:
    """Opens a file, whose tensors can be loaded until it is closed. Raises WeightsError.

    Args:
        path: The file.
        list_file: Lists the HDF5 file in the archive; `list_in_process` is for a file that this process wrote.
    """
    with zipped.open_archive(path) as archive, tempfile.TemporaryDirectory() as folder:
        if WEIGHTS not in archive.records:
            reason = "keras.sharded" if SHARDED in archive.records else "keras.archive"
            raise refuse(reason, f"it does not contain {WEIGHTS}")
        metadata = _metadata(archive)
        weights = Path(folder, WEIGHTS)
        with weights.open("wb") as file:
            for chunk in archive.chunks(WEIGHTS):
                file.write(chunk)
        with hdf5.open_listing(weights, list_file) as listing:
            yield replace(listing.contents, metadata=metadata)


@contextmanager
def reopen_contents(path: Path) -> Iterator[FileContents]:
    """Opens a file that this process wrote."""
    with open_contents(path, hdf5.list_in_process) as contents:
        yield contents


def _metadata(archive: zipped.Archive) -> dict[str, str]:
    """Our metadata, or the architecture in the config of a model of se_tf."""
    if METADATA in archive.records:
        return parse_metadata(archive.read_document(METADATA))
    if CONFIG not in archive.records:
        raise refuse("keras.archive", f"it does not contain {CONFIG}")
    try:
        config = parse_object(archive.read_document(CONFIG), "keras.archive")
    except DuplicateKey as error:
        raise refuse("keras.archive", f"{CONFIG}: {error}") from error
    inner = config.get("config")
    architecture = inner.get("architecture") if isinstance(inner, dict) else None
    return {"architecture": json.dumps(architecture)} if architecture else {}


def write(path: Path, contents: FileContents) -> None:
    """Writes a file that `keras.saving.load_model` reads.

    Raises:
        MissingExtra: Keras is not installed.
        UnsupportedFormat: The weights are of several types, which a Keras model saves as one.
        WriteFailed: Keras failed.
    """
    if not (find_spec("keras") and find_spec("tensorflow")):
        raise MissingExtra("writing .keras, unlike .weights.h5, needs Keras", "tf")
    dtypes = sorted({tensor.dtype.name for tensor in contents.tensors.values()})
    if len(dtypes) > 1:
        raise UnsupportedFormat(
            f"the weights are of the types {', '.join(dtypes)}, and a Keras model has one: convert with --dtype float32"
        )
    with tempfile.TemporaryDirectory() as folder:
        source, model = Path(folder, "weights.safetensors"), Path(folder, "model.keras")
        safetensors.write(source, contents)
        run_writer("Keras", "-m", "se_tf.archive", str(source), str(model))
        with zipfile.ZipFile(model) as keras_archive, path.open("wb") as file, zipfile.ZipFile(file, "w") as archive:
            for name in keras_archive.namelist():
                with (
                    keras_archive.open(name) as record,
                    archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as copy,
                ):
                    copy.write(_undated(record.read())) if name == KERAS_METADATA else shutil.copyfileobj(record, copy)
            archive.writestr(zipfile.ZipInfo(METADATA), json.dumps(dict(contents.metadata)))


def _undated(metadata: bytes) -> bytes:
    return json.dumps({**json.loads(metadata), **DATE}).encode()
