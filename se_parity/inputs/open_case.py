"""Make a case from a weights file, or from the name of an architecture."""

from pathlib import Path

import se_hub
import se_spec
import se_weights
from se_parity.case import Case
from se_parity.inputs.trained_like import sample_images, trained_like_weights


def open_case(
    subject: str,
    *,
    dialect: str | None = None,
    architecture: str | None = None,
    prefix: str | None = None,
    batch: int = 3,
    size: tuple[int, int] = (64, 49),
    seed: int = 0,
) -> Case:
    """Make a case from a weights file or an architecture's name, with sample images.

    Args:
        subject: a path if that file exists or if the text contains "." or "/"; an address that `se_hub.fetch` takes;
            else the name of an architecture, which gets trained-like weights.
        dialect: the dialect of the file, where several match its tensor names.
        architecture: the name of the file's architecture, where its tensors do not show it.
        prefix: the prefix of the network in a file that contains several.
        batch: the number of images.
        size: (height, width) of the images in pixels.
        seed: of the sample images.

    Returns:
        A case named "BATCH x HEIGHTxWIDTH".

    Raises:
        se_weights.WeightsError: the file cannot be fetched or read.
        se_spec.ArchitectureError: there is no architecture of that name, or a file's option is given with it.
    """
    if se_hub.is_address(subject):
        subject = str(se_hub.fetch(subject))
    if Path(subject).exists() or "." in subject or "/" in subject:
        checkpoint, _ = se_weights.read_disambiguated(
            subject, dialect=dialect, architecture=architecture, prefix=prefix
        )
        network, weights = checkpoint.architecture, checkpoint.weights
    elif architecture or prefix:
        raise se_spec.ArchitectureError(f"an architecture and a prefix are those of a file, and {subject} is no file")
    else:
        network = se_spec.architecture(subject)
        weights = trained_like_weights(network)
    name = f"{batch} x {size[0]}x{size[1]}"
    return Case(name, network, weights, sample_images(network, batch, *size, seed))
