"""Parses the JSON documents that declare the types and shapes of zarr arrays, of versions 2 and 3, in Orbax folders."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from se_weights.files.json_document import DuplicateKey, parse_object
from se_weights.files.safetensors.single_file import TYPES
from se_weights.refusals import refuse


@dataclass(frozen=True)
class Layout:
    """A version of zarr.

    Attributes:
        driver: The name of its driver in TensorStore.
        document: The name of the document that declares an array.
    """

    driver: str
    document: str


ZARR2, ZARR3 = Layout("zarr", ".zarray"), Layout("zarr3", "zarr.json")

SPELLINGS = {
    ZARR2: {dtype.str if dtype.isbuiltin == 1 else dtype.name: dtype for dtype in TYPES.values()},
    ZARR3: {dtype.name: dtype for dtype in TYPES.values()},
}
"""The types by their names in a document: `<f4` or `float32`; `bfloat16` in both."""


def parse_document(
    name: str, text: str, layout: Layout, write_shape: tuple[int, ...] | None
) -> tuple[np.dtype, tuple[int, ...]]:
    """Parses the document of an array.

    Args:
        name: The array's name, for messages.
        text: The document.
        layout: The version of zarr.
        write_shape: The shape of the part that each device wrote, if it is known.

    Returns:
        The type and the shape of the array.

    Raises:
        WeightsError: The document is refused.
    """
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
            raise refuse("orbax.metadata", f"{name}: {layout.document} does not declare a type, a shape and chunks")
    if not all(is_size(size) for size in (*shape, *chunks)) or len(shape) != len(chunks):
        raise refuse("orbax.metadata", f"{name}: {shape} in chunks of {chunks} is not a valid shape")
    if any(chunk > size for size, chunk in zip(shape, chunks, strict=True)):
        raise refuse("orbax.metadata", f"{name}: the chunks {chunks} are larger than the array, {shape}")
    if write_shape is not None and not _divides(write_shape, shape):
        detail = f"{layout.document} declares {shape}, and _METADATA the write_shape {list(write_shape)}"
        raise refuse("orbax.metadata", f"{name}: {detail}")
    if not isinstance(kind, str) or kind not in SPELLINGS[layout]:
        raise refuse("tensor.type", f"{name} is of type {kind}")
    return SPELLINGS[layout][kind], tuple(shape)


def is_size(value: Any) -> bool:
    """Whether a JSON value is a positive integer that TensorStore can hold."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63


def _divides(part: tuple[int, ...], shape: list[int]) -> bool:
    return len(part) == len(shape) and all(size % step == 0 for size, step in zip(shape, part, strict=True))
