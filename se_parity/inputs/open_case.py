"""A case from a weights file, or from the name of an architecture."""

from pathlib import Path

import se_spec
import se_weights
from se_parity.case import Case
from se_parity.inputs.trained_like import sample_images, trained_like_weights


def open_case(
    subject: str, *, dialect: str | None = None, batch: int = 3, size: tuple[int, int] = (64, 49), seed: int = 0
) -> Case:
    """The weights of a file, or of an architecture by name, for which trained-like ones are made; and sample images.

    A subject is a file where there is one, or where the text can only mean one. Raises what se_weights.read and
    se_spec.architecture raise.
    """
    if Path(subject).exists() or "." in subject or "/" in subject:
        checkpoint, _ = se_weights.read_disambiguated(subject, dialect=dialect)
        architecture, weights = checkpoint.architecture, checkpoint.weights
    else:
        architecture = se_spec.architecture(subject)
        weights = trained_like_weights(architecture)
    name = f"{batch} x {size[0]}x{size[1]}"
    return Case(name, architecture, weights, sample_images(architecture, batch, *size, seed))
