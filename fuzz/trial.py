"""The promise on one file: it is read whole, or refused for a reason that has an id. Anything else is a bug."""

from pathlib import Path

import se_weights
from se_weights import AmbiguousDialect, WeightMismatch, WeightsError
from se_weights.files import open_file
from se_weights.refusals import REFUSALS

FOUND = Path(__file__).with_name("found")
"""Where files are kept that are read otherwise than promised."""

ACCEPTED = "accepted"
SECONDS, BYTES = 10, 500 * 2**20
"""What one file may take."""


def tried(path: Path, *, whole: bool = False, load: bool = True) -> str:
    """The id of the refusal, or that every tensor was loaded; `whole` also recognises the network. A bug escapes."""
    try:
        with open_file(path) as (_, stored, _):
            for name, tensor in stored.tensors.items() if load else ():
                array = tensor.load()
                assert (array.dtype, array.shape) == (tensor.dtype, tensor.shape), name
        if whole:
            se_weights.read(path)
    except (WeightMismatch, AmbiguousDialect) as error:
        return error.id
    except WeightsError as error:
        if error.id not in REFUSALS:
            raise
        return error.id
    return ACCEPTED
