"""The errors of se_weights. Each message says what was found, where, and what to do."""

from collections.abc import Iterable, Mapping


class WeightsError(Exception):
    """Base class of all errors in reading, checking, converting and writing weights.

    Attributes:
        id: The reason as a short text that does not change between releases (docs/reference/refusals.md).
    """

    id = "weights"


class AmbiguousDialect(WeightsError):
    """The tensors match several dialects that compute different functions; the user must name one.

    Attributes:
        candidates: For each dialect that matches, by name: the architecture, and the settings in which it differs.
    """

    id = "dialect.ambiguous"

    def __init__(self, what: str, candidates: Mapping[str, str]) -> None:
        self.candidates = dict(candidates)
        lines = [f"{name}: {description}" for name, description in self.candidates.items()]
        super().__init__(
            f"{what} matches {len(lines)} dialects, which share all tensor names and shapes: name one with --dialect "
            "(dialect=), or let `se-resnet identify` determine it from a few outputs of the model\n" + "\n".join(lines)
        )


class AmbiguousArchitecture(AmbiguousDialect):
    """The tensors are those of several published networks that compute different functions; the user must name one.

    Attributes:
        candidates: For each network, by the name that `architecture=` accepts: what it is.
    """

    id = "architecture.ambiguous"

    def __init__(self, what: str, likely: str, candidates: Mapping[str, str]) -> None:
        self.candidates = dict(candidates)
        lines = [f"{name}: {description}" for name, description in self.candidates.items()]
        WeightsError.__init__(
            self,
            f"{what} matches {len(lines)} published networks, which share all tensor names and shapes and compute "
            f"different functions. Most likely it is the first: then add --architecture {likely} "
            f"(architecture={likely!r})\n" + "\n".join(lines),
        )


class AmbiguousFolder(WeightsError):
    """The folder contains several checkpoints; the user must name one."""

    id = "folder.ambiguous"


class AmbiguousPrefix(WeightsError):
    """The file contains several networks, each under a prefix of its own; the user must name one.

    Attributes:
        prefixes: The prefixes that `prefix=` accepts.
    """

    id = "prefix.ambiguous"

    def __init__(self, what: str, prefixes: Iterable[str]) -> None:
        self.prefixes = tuple(prefixes)
        super().__init__(
            f"{what} contains {len(self.prefixes)} networks: name one with --prefix (prefix=)\n"
            + "\n".join(map(printable, self.prefixes))
        )


class MalformedFile(WeightsError):
    """The file is damaged, or is not in the format that its suffix names."""

    id = "file.malformed"


class WeightMismatch(WeightsError):
    """The tensors are not those of the architecture.

    Attributes:
        what: What does not match, without the differences.
        differences: One line for each difference: `- name` for a missing tensor, `+ name` for an unexpected one,
            `! name` for a wrong shape, dtype or value.
    """

    id = "weights.mismatch"

    def __init__(self, what: str, differences: Iterable[str]) -> None:
        self.what = what
        self.differences = tuple(printable(line) for line in differences)
        super().__init__(f"{what} ({len(self.differences)} differences)\n" + "\n".join(self.differences))


class MissingPrefix(WeightMismatch):
    """The file has no tensors under the prefix that the user named."""

    def __init__(self, what: str, prefix: str) -> None:
        super().__init__(f"{what} has no tensors under the prefix {printable(prefix)}", [f"- {prefix}"])


class UnsafeFile(WeightsError):
    """The file would run code, read other files or exhaust the memory, which no file of weights needs to do."""

    id = "file.unsafe"


class UnsupportedFormat(WeightsError):
    """There is no reader or writer for the file, or the format or dialect cannot represent the weights."""

    id = "format.unsupported"


class MissingExtra(WeightsError):
    """A framework that is needed is not installed; the message names the pip extra, which is installed from a clone."""

    id = "extra.missing"

    def __init__(self, need: str, extra: str) -> None:
        super().__init__(f"{need}: pip install '.[{extra}]' in a clone of se-resnet")


class SourceChanged(WeightsError):
    """The file was changed while it was read."""

    id = "source.changed"


class TargetExists(WeightsError):
    """The target already exists."""

    id = "target.exists"


class WriteFailed(WeightsError):
    """The file could not be written, or was not read back bit for bit. No partial file is left."""

    id = "target.failed"


MAX_PRINTED = 300
"""Characters of a text from a file that a message shows."""


def printable(text: str) -> str:
    """A text from an untrusted file, escaped and shortened for a message."""
    shown = escaped(text)
    return shown if len(shown) <= MAX_PRINTED else f"{shown[:MAX_PRINTED]}... ({len(text):,} characters)"


def escaped(text: str) -> str:
    """The text with control characters and bidirectional formatting characters escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "replace").decode()
        for character in text
    )
