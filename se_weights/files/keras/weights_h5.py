"""`.weights.h5`, the weights file of Keras 3; metadata travels as an attribute of the root."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from se_weights.files.hdf5.listing import list_in_process, list_sandboxed, open_listing
from se_weights.files.hdf5.writer import write as write
from se_weights.files.stored import FileContents
from se_weights.refusals import refuse


@contextmanager
def open_contents(path: Path) -> Iterator[FileContents]:
    with open_listing(path, list_sandboxed) as listing:
        if "layer_names" in listing.names.get("", {}):
            raise refuse("file.other", "it has the lists of names of Keras 2: its suffix is .h5")
        yield listing.contents


@contextmanager
def reopen_contents(path: Path) -> Iterator[FileContents]:
    with open_listing(path, list_in_process) as listing:
        yield listing.contents
