"""What can go wrong with a file of weights. Each message says what was found, where, and what to do."""

from collections.abc import Iterable, Mapping


class WeightsError(Exception):
    """The root of every error that reading, checking or writing weights raises.

    `id` names the reason in a word that stays the same from release to release (docs/refusals.md).
    """

    id = "weights"


class AmbiguousDialect(WeightsError):
    """The tensors fit more than one reading; the user must name the dialect. `candidates` has a line for
    each of them, by name."""

    id = "dialect.ambiguous"

    def __init__(self, what: str, candidates: Mapping[str, str]) -> None:
        self.candidates = dict(candidates)
        lines = [f"{name}: {line}" for name, line in self.candidates.items()]
        super().__init__(
            f"{what} fits {len(lines)} dialects, and its tensors do not tell which: say it with --dialect (dialect=), "
            "or let `se-resnet identify` find it from a few outputs\n" + "\n".join(lines)
        )


class AmbiguousFolder(WeightsError):
    """The folder holds several checkpoints; the user must name one."""

    id = "folder.ambiguous"


class MalformedFile(WeightsError):
    """The file is damaged, or is not what its name says."""

    id = "file.malformed"


class WeightMismatch(WeightsError):
    """The tensors are not those of the architecture. `differences` lists all of them.

    `-` stands before a missing tensor, `+` before an unexpected one, `!` before one of the wrong shape or type.
    """

    id = "weights.mismatch"

    def __init__(self, what: str, differences: Iterable[str]) -> None:
        self.differences = tuple(printable(line) for line in differences)
        super().__init__(f"{what} ({len(self.differences)} differences)\n" + "\n".join(self.differences))


class UnsafeFile(WeightsError):
    """The file asks for something that weights never need: to run code, to read elsewhere, to fill the memory."""

    id = "file.unsafe"


class UnsupportedFormat(WeightsError):
    """No reader or writer for this file, or the format cannot hold what was asked of it."""

    id = "format.unsupported"


class MissingExtra(WeightsError):
    """A framework is needed that is not installed; the message names the pip extra."""

    id = "extra.missing"


class SourceChanged(WeightsError):
    """The file was changed while it was read, so what was read is neither the old nor the new."""

    id = "source.changed"


class TargetExists(WeightsError):
    """The file to be written is already there."""

    id = "target.exists"


class WriteFailed(WeightsError):
    """The file could not be written, or did not read back as it was meant; nothing was left behind."""

    id = "target.failed"


LONGEST = 300


def printable(text: str) -> str:
    """A text from a file as it may be shown: escaped, and not too long."""
    shown = escaped(text)
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}... ({len(text):,} characters)"


def escaped(text: str) -> str:
    """A text whose control characters, and signs that turn the direction of writing, are spelled out."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape", "replace").decode() for sign in text)
