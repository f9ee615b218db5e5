"""ArchitectureError, and the checks that raise it in a sentence naming the field."""

import difflib
from collections.abc import Collection, Iterable


class ArchitectureError(ValueError):
    """An unknown architecture, or a configuration that no network of its family can have."""


def expect(holds: bool, name: str, expected: str, value: object) -> None:
    """Raise ArchitectureError unless a condition holds.

    Args:
        holds: the condition.
        name: the field that it is about.
        expected: what the field must be, as the end of "must be ...".
        value: the value that it has.
    """
    if not holds:
        raise ArchitectureError(f"{name} must be {expected}: got {value!r}")


def expect_kind(kind: type, **config: object) -> None:
    """Every value must be of this type; True is not a number."""
    for name, value in config.items():
        if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
            expect(False, name, f"a {kind.__name__}", value)


def expect_one_of(known: Collection[object], **config: object) -> None:
    """Every value must be one of the known ones."""
    for name, value in config.items():
        if value not in known or isinstance(value, bool):
            expect(False, name, "one of " + ", ".join(map(str, known)), value)


def expect_count(**config: object) -> None:
    """Every value must be a positive integer."""
    for name, value in config.items():
        expect(_is_integer(value, 1), name, "a positive integer", value)


def expect_count_or_zero(**config: object) -> None:
    """Every value must be an integer and not negative."""
    for name, value in config.items():
        expect(_is_integer(value, 0), name, "zero or a positive integer", value)


def expect_counts(**config: object) -> None:
    """Every value must be a tuple of positive integers, which may be empty."""
    for name, value in config.items():
        holds = isinstance(value, tuple) and all(_is_integer(item, 1) for item in value)
        expect(holds, name, "a tuple of positive integers", value)


OTHER_LIBRARIES = {
    "include_top": "num_classes=0 leaves the classifier out",
    "pooling": "with num_classes=0 the features are averaged over space; forward_features does not average them",
    "classes": "use num_classes",
    "input_shape": "images of any size can be run; in_channels is their number of channels",
    "input_tensor": "call the model on the tensor",
    "classifier_activation": "models return logits: add the activation to what they return",
    "weights": "create_model takes pretrained=True for published weights, and from_file(path) reads a file",
    "pretrained": "create_model of se_torch, se_tf and se_flax takes it, and from_file(path) reads a file",
    "checkpoint_path": "from_file(path) reads pretrained weights",
    "in_chans": "use in_channels",
    "drop_rate": "use dropout",
    "drop_path_rate": "use drop_path",
    "global_pool": "features are averaged over space",
    "features_only": "stage_features(images) returns the features of every stage",
    "out_indices": "stage_features(images) returns the features of every stage",
}
"""Arguments of Keras Applications, timm and torchvision, and what stands for them here."""


def refuse_unknown(names: Iterable[str], known: Collection[str]) -> None:
    """Raise ArchitectureError for the first name that is not a field.

    Args:
        names: the names to check.
        known: the names of the fields.

    Raises:
        ArchitectureError: names the first unknown field, and similar known ones.
    """
    for name in names:
        if name in OTHER_LIBRARIES and name not in known:
            raise ArchitectureError(f"an architecture has no field {name!r}: {OTHER_LIBRARIES[name]}")
        if name not in known:
            raise ArchitectureError(f"an architecture has no field {name!r}{suggestion(str(name), known)}")


def suggestion(name: str, known: Collection[str]) -> str:
    """The end of a sentence about an unknown name: the most similar known names, or all of them.

    Args:
        name: the unknown name.
        known: the names that are known.
    """
    similar = difflib.get_close_matches(name, known, n=3)
    return f"; did you mean {' or '.join(similar)}?" if similar else f"; known: {', '.join(known)}"


def _is_integer(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
