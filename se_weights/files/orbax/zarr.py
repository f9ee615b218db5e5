"""The documents of zarr arrays, of versions 2 and 3, as Orbax has them: what an array is declared to be."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from se_weights.files.json_document import DuplicateKey, parse_object
from se_weights.files.safetensors.single_file import TYPES
from se_weights.refusals import refuse


@dataclass(frozen=True)
class Layout:
    """What TensorStore calls a version of zarr, and the document that describes an array of it."""

    driver: str
    document: str


ZARR2, ZARR3 = Layout("zarr", ".zarray"), Layout("zarr3", "zarr.json")

SPELLINGS = {
    ZARR2: {dtype.str if dtype.isbuiltin == 1 else dtype.name: dtype for dtype in TYPES.values()},
    ZARR3: {dtype.name: dtype for dtype in TYPES.values()},
}
"""How a document spells a type: `<f4` or `float32`, and `bfloat16` in both."""


def declared(name: str, text: str, layout: Layout, piece: tuple[int, ...] | None) -> tuple[np.dtype, tuple[int, ...]]:
    """The type and shape in an array's document; `piece` is the shape that each device wrote, where that is told."""
    try:
        document = parse_object(text, "orbax.metadata")
    except DuplicateKey as error:
        raise refuse("orbax.metadata", f"{name}: {error}") from error
    match document:
        case {"zarr_format": 2, "shape": [*shape], "dtype": kind, "chunks": [*chunks]} if layout == ZARR2:
            pass
        case {
            "zarr_format": 3,
            "shape": [*shape],
            "data_type": kind,
            "chunk_grid": {"configuration": {"chunk_shape": [*chunks]}},
        } if layout == ZARR3:
            pass
        case _:
            raise refuse("orbax.metadata", f"{name}: {layout.document} does not tell type, shape and chunks")
    if not all(is_size(side) for side in (*shape, *chunks)) or len(shape) != len(chunks):
        raise refuse("orbax.metadata", f"{name}: {shape} in chunks of {chunks} is no shape")
    if any(chunk > side for side, chunk in zip(shape, chunks, strict=True)):
        raise refuse("orbax.metadata", f"{name}: the chunks {chunks} are larger than the array, {shape}")
    if piece is not None and not _divides(piece, shape):
        raise refuse("orbax.metadata", f"{name}: {layout.document} says {shape}, and _METADATA pieces of {list(piece)}")
    if not isinstance(kind, str) or kind not in SPELLINGS[layout]:
        raise refuse("tensor.type", f"{name} is of type {kind}")
    return SPELLINGS[layout][kind], tuple(shape)


def is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63


def _divides(piece: tuple[int, ...], shape: list[int]) -> bool:
    return len(piece) == len(shape) and all(side % part == 0 for side, part in zip(shape, piece, strict=True))
