"""What looks wrong in weights that are well-formed. They are converted as they are, and this is said."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from se_spec import Parameter, Role, manifest
from se_weights.checkpoint import Checkpoint
from se_weights.threads import map_in_threads

KERNELS = (Role.CONVOLUTION, Role.GATE, Role.CLASSIFIER)
SHOWN = 3


def notes(checkpoint: Checkpoint) -> list[str]:
    """A sentence for each thing that no trained network has."""
    found: dict[str, list[str]] = {}
    parameters = manifest(checkpoint.architecture)
    noted = map_in_threads(lambda parameter: list(_notes(parameter, checkpoint.weights[parameter.name])), parameters)
    for parameter, told in zip(parameters, noted, strict=True):
        for words in told:
            found.setdefault(words, []).append(parameter.name)
    sentences = [f"{words} in {_listed(names)}" for words, names in found.items()]
    recorded = checkpoint.metadata.get("weights_sha256")
    if recorded and recorded != checkpoint.weights_sha256:
        sentences.append("the file's metadata record other weights: it was changed since se-resnet wrote it")
    return sentences


def _notes(parameter: Parameter, values: NDArray) -> Iterator[str]:
    if not _finite(values):
        yield "values that are not finite"
    elif parameter.role is Role.VARIANCE and values.min() <= 0:
        yield "variances that are not positive"
    elif (
        parameter.role in KERNELS
        and values.size > 1
        and values.flat[0] == values.flat[-1]
        and values.min() == values.max()
    ):
        yield "the same value everywhere"


def _finite(values: NDArray) -> bool:
    """By the sum, which is quick; only where that is not finite, each value is asked."""
    with np.errstate(invalid="ignore", over="ignore"):
        return bool(np.isfinite(values.sum()) or np.isfinite(values).all())


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"
