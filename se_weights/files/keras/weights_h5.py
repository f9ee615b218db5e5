"""`.weights.h5`, the weights files of Keras 3. Our metadata are an attribute of the root."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from se_weights.files.contents import FileContents
from se_weights.files.hdf5.listing import list_in_process, list_sandboxed, open_listing
from se_weights.files.hdf5.writer import write as write
from se_weights.refusals import refuse


@contextmanager
def open_contents(path: Path) -> Iterator[FileContents]:
    """Opens a file, whose tensors can be loaded until it is closed. Raises WeightsError."""
    with open_listing(path, list_sandboxed) as listing:
        if "layer_names" in listing.names.get("", {}):
            raise refuse("file.other", "it has the name lists of Keras 2, whose files have the suffix .h5")
        yield listing.contents


@contextmanager
def reopen_contents(path: Path) -> Iterator[FileContents]:
    """Opens a file that this process wrote."""
    with open_listing(path, list_in_process) as listing:
        yield listing.contents
