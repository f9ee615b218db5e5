"""Notes on weights that are well-formed but look wrong. Such weights are converted unchanged."""

from collections.abc import Iterator

from numpy.typing import NDArray

from se_spec import Parameter, Role, manifest
from se_weights.checkpoint import Checkpoint, all_finite
from se_weights.threads import map_in_threads

KERNELS = (Role.CONVOLUTION, Role.GATE, Role.CLASSIFIER)

MAX_NAMES = 3
"""Tensors that a note lists by name."""


def notes(checkpoint: Checkpoint) -> list[str]:
    """Check a checkpoint for values that no trained network has.

    Returns:
        One note for each problem, with the names of tensors: values that are not finite, variances that are not
        positive, weights that are constant, and metadata with the hash of other weights; one for what the tensors do
        not show; and one where the original network does not return logits.
    """
    names_by_problem: dict[str, list[str]] = {}
    parameters = manifest(checkpoint.architecture)
    problems = map_in_threads(lambda each: list(_problems(each, checkpoint.weights[each.name])), parameters)
    for parameter, problems_of_parameter in zip(parameters, problems, strict=True):
        for problem in problems_of_parameter:
            names_by_problem.setdefault(problem, []).append(parameter.name)
    sentences = [f"{problem} in {_joined(names)}" for problem, names in names_by_problem.items()]
    sentences += [checkpoint.metadata["twins"]] if "twins" in checkpoint.metadata else []
    if checkpoint.metadata.get("output") == "softmax":
        sentences.append("the original network ends in a softmax: its outputs are the softmax of these logits")
    recorded = checkpoint.metadata.get("weights_sha256")
    if recorded and recorded != checkpoint.weights_sha256:
        sentences.append("the metadata have the hash of other weights: the file was changed since se-resnet wrote it")
    return sentences


def _problems(parameter: Parameter, values: NDArray) -> Iterator[str]:
    if not all_finite(values):
        yield "values that are not finite"
    elif parameter.role is Role.VARIANCE and values.min() <= 0:
        yield "variances that are not positive"
    elif (
        parameter.role in KERNELS
        and values.size > 1
        and values.flat[0] == values.flat[-1]  # almost always differs, and is much faster to compare than all values
        and values.min() == values.max()
    ):
        yield "the same value everywhere"


def _joined(names: list[str]) -> str:
    shown = ", ".join(names[:MAX_NAMES])
    return shown if len(names) <= MAX_NAMES else f"{shown} and {len(names) - MAX_NAMES} more"
