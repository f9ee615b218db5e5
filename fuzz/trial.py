"""Checks one file: it must be read completely, or refused with a refusal id. Any other error is a bug."""

from pathlib import Path

import se_weights
from se_weights import AmbiguousDialect, WeightMismatch, WeightsError
from se_weights.files import open_file
from se_weights.refusals import REFUSALS

FOUND_FOLDER = Path(__file__).with_name("found")
"""Where files that show a bug are kept."""

ACCEPTED = "accepted"
MAX_SECONDS, MAX_BYTES = 10, 500 * 2**20
"""Time and memory that one file may take."""


def read_file(path: Path, *, recognise: bool = False, load: bool = True) -> str:
    """Read a file with its reader; any error but a refusal is raised.

    Args:
        path: The file.
        recognise: Also recognise the network, by `se_weights.read`.
        load: Load every tensor.

    Returns:
        The refusal id, or ACCEPTED.
    """
    try:
        with open_file(path) as (_, contents, _):
            for name, tensor in contents.tensors.items() if load else ():
                array = tensor.load()
                assert (array.dtype, array.shape) == (tensor.dtype, tensor.shape), name
        if recognise:
            se_weights.read(path)
    except (WeightMismatch, AmbiguousDialect) as error:
        return error.id
    except WeightsError as error:
        if error.id not in REFUSALS:
            raise
        return error.id
    return ACCEPTED
