"""What a fact may not be, in a sentence."""

import difflib
from collections.abc import Collection, Iterable


class ArchitectureError(ValueError):
    """An unknown architecture, or a fact that no SE-ResNet can have."""


def expect(holds: bool, name: str, expected: str, got: object) -> None:
    """Raise ArchitectureError, in a sentence that names the fact, unless it holds."""
    if not holds:
        raise ArchitectureError(f"{name} must be {expected}: got {got!r}")


def expect_kind(kind: type, **config: object) -> None:
    """Every fact must be of this type; True is no number."""
    for name, value in config.items():
        expect(
            isinstance(value, kind) and isinstance(value, bool) == (kind is bool),
            name,
            f"a {kind.__name__}",
            value,
        )


def expect_one_of(known: Collection[object], **config: object) -> None:
    """Every fact must be one of the known values."""
    for name, value in config.items():
        holds = value in known and not isinstance(value, bool)
        expect(holds, name, "one of " + ", ".join(map(str, known)), value)


def expect_count(**config: object) -> None:
    """Every fact must be a positive whole number."""
    for name, value in config.items():
        expect(_is_whole(value, 1), name, "a positive integer", value)


def expect_count_or_zero(**config: object) -> None:
    """Every fact must be a whole number and not negative."""
    for name, value in config.items():
        expect(_is_whole(value, 0), name, "zero or a positive integer", value)


def expect_counts(**config: object) -> None:
    """Every fact must be a tuple of positive whole numbers, which may be empty."""
    for name, value in config.items():
        holds = isinstance(value, tuple) and all(_is_whole(item, 1) for item in value)
        expect(holds, name, "a tuple of positive integers", value)


def refuse_unknown(config: Iterable[str], known: Collection[str]) -> None:
    """Raise ArchitectureError for the first fact that is none of the known ones."""
    for name in config:
        if name not in known:
            raise ArchitectureError(f"an architecture has no fact {name!r}{nearest(str(name), known)}")


def nearest(word: str, known: Collection[str]) -> str:
    """The end of a sentence about an unknown word: what may have been meant, or all that is known."""
    near = difflib.get_close_matches(word, known, n=3)
    return f"; did you mean {' or '.join(near)}?" if near else f"; known: {', '.join(known)}"


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
