"""What stands before a value in msgpack: one byte for its kind, and its length (the msgpack specification)."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from se_weights.refusals import refuse

MAP, ARRAY, TEXT, BYTES, EXTENSION, WHOLE, TRUE = "map", "array", "text", "bytes", "extension", "whole number", "true"

FIXED: Mapping[int, tuple[str, int]] = {
    **{first: (WHOLE, first) for first in range(0x80)},
    **{0x80 + length: (MAP, length) for length in range(16)},
    **{0x90 + length: (ARRAY, length) for length in range(16)},
    **{0xA0 + length: (TEXT, length) for length in range(32)},
    **{0xD4 + power: (EXTENSION, 2**power) for power in range(5)},
    0xC3: (TRUE, 0),
}
"""Kind and length by first byte, where that tells both; a small whole number is its own length."""

MEASURED: Mapping[int, tuple[str, int]] = {
    **{0xC4 + power: (BYTES, 2**power) for power in range(3)},
    **{0xC7 + power: (EXTENSION, 2**power) for power in range(3)},
    **{0xCC + power: (WHOLE, 2**power) for power in range(4)},
    **{0xD9 + power: (TEXT, 2**power) for power in range(3)},
    **{0xDC + power: (ARRAY, 2 * 2**power) for power in range(2)},
    **{0xDE + power: (MAP, 2 * 2**power) for power in range(2)},
}
"""Kind by first byte, and how many bytes of length follow."""

WINDOW = 512
"""Bytes that are read at once."""


@dataclass
class Heads:
    """A walk over the heads of values from a place in a file on; what ends before its time is refused for a reason."""

    file: BinaryIO
    at: int
    end: int
    reason: str
    window: bytes = b""
    window_at: int = 0

    def head(self) -> tuple[str | None, int]:
        """The kind of the next value, and its length; what is neither of the kinds above is None."""
        first = self.take(1)[0]
        if first in FIXED:
            return FIXED[first]
        kind, width = MEASURED.get(first, (None, 0))
        return kind, int.from_bytes(self.take(width), "big")

    def take(self, count: int) -> bytes:
        """The bytes that follow."""
        self.pass_over(count)
        begin = self.at - count
        if not self.window_at <= begin <= self.at <= self.window_at + len(self.window):
            self.window, self.window_at = os.pread(self.file.fileno(), max(count, WINDOW), begin), begin
        return self.window[begin - self.window_at : self.at - self.window_at]

    def pass_over(self, count: int) -> None:
        if count > self.end - self.at:
            raise refuse(self.reason, f"{count:,} bytes are due at offset {self.at:,}, and it ends at {self.end:,}")
        self.at += count

    def text(self, length: int) -> str:
        try:
            return self.take(length).decode()
        except UnicodeDecodeError as error:
            raise refuse(self.reason, f"at offset {self.at - length:,}: {error}") from error


def head_of(kind: str, length: int) -> bytes:
    """The shortest head of a kind with a length."""
    for first, fixed in FIXED.items():
        if fixed == (kind, length):
            return bytes([first])
    for first, (known, width) in MEASURED.items():
        if known == kind and length < 256**width:
            return bytes([first]) + length.to_bytes(width, "big")
    raise ValueError(f"{length:,} is too long for a {kind}")
