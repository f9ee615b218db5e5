"""A rough estimate of how long an examination takes, which the command prints before it begins.

The figures are rounded from runs of se_resnet18 at 64x49 on two cores; compiling dominates there. A GPU, another
machine or a warm cache of torch.compile changes them by factors. Estimated and measured on such a machine for the
default runs: se_resnet18 20 and 13 s, se_resnet50 34 and 19 s, se_densenet121 43 and 32 s, se_densenet201 65 and 56 s
(`se-resnet parity NAME`).
"""

from collections.abc import Sequence
from itertools import groupby

from se_parity.case import Case
from se_parity.examination import TRAINING_DTYPES, ExaminationOptions
from se_parity.judge.limits import DRAWS
from se_parity.judge.processes import JOBS, process_key
from se_parity.run.modes import modes_of
from se_spec import Convolution, multiply_adds, parameter_count

START_SECONDS = 5.0
"""To start a worker: Python, the framework, its probes and a model."""

MEASURED_CONVOLUTIONS = 20
"""Of se_resnet18, whose first runs `Mode.seconds` are; compiling takes as long as there are layers."""

LATER_SHARE = 0.05
"""The share of `Mode.seconds` that a run takes whose form has been compiled."""

SECONDS_PER_GIGA_MULTIPLY_ADDS = 1.0
SECONDS_PER_MILLION_PARAMETERS = 0.02
"""Of a forward pass of the reference."""

BACKWARD_SHARE = 3
"""A training step of the reference, as a multiple of its forward pass."""

LOCALISED_SECONDS = TRAINED_SECONDS = 25.0
"""To compare every layer of se_resnet18 in one framework, and to train it there for ten steps."""


def estimated_seconds(
    cases: Sequence[Case],
    options: ExaminationOptions,
    frameworks: Sequence[str],
    modes: Sequence[str],
    dtypes: Sequence[str],
) -> float:
    """Estimate the time of `examine` on two cores.

    Args:
        cases: as `examine` takes them, like the other arguments.
        options: the checks in addition to the matrix of runs.
        frameworks: names of frameworks.
        modes: names of modes; all of them if empty.
        dtypes: names of dtypes.

    Returns:
        The time in seconds, to be shown in whole minutes.
    """
    architecture = cases[0].architecture
    convolutions = sum(isinstance(node.operation, Convolution) for node in architecture.graph.nodes)
    depth_share = convolutions / MEASURED_CONVOLUTIONS
    selected = [mode for framework in frameworks for mode in modes_of(framework, list(modes))]
    shapes = len({case.images.shape for case in cases})
    compiled = len(dtypes) * (shapes + LATER_SHARE * (len(cases) - shapes))
    processes = [
        START_SECONDS + sum(mode.seconds for mode in shared) * depth_share * compiled
        for _, shared in groupby(selected, lambda mode: process_key(mode, {}))
    ]
    reference = len(dtypes) * (1 + DRAWS) * sum(map(_forward_seconds, cases))
    localised = len(frameworks) * (START_SECONDS + LOCALISED_SECONDS * depth_share) if options.localise else 0.0
    trained = sum(
        (1 + (DRAWS if dtype == "float32" else 0)) * recipe.steps * BACKWARD_SHARE * _forward_seconds(cases[0])
        + len(frameworks) * (START_SECONDS + TRAINED_SECONDS * depth_share)
        for recipe in options.recipes
        for dtype in TRAINING_DTYPES
    )
    return _in_parallel(processes) + reference + localised + trained


def _in_parallel(processes: Sequence[float]) -> float:
    """The seconds until worker processes have ended that take these seconds, as `check_parity` runs them."""
    busy_until = [0.0] * JOBS
    for seconds in sorted(processes, reverse=True):
        busy_until[busy_until.index(min(busy_until))] += seconds
    return max(busy_until)


def _forward_seconds(case: Case) -> float:
    count, _, height, width = case.images.shape
    operations = count * multiply_adds(case.architecture, height, width) / 1e9
    parameters = parameter_count(case.architecture) / 1e6
    return SECONDS_PER_GIGA_MULTIPLY_ADDS * operations + SECONDS_PER_MILLION_PARAMETERS * parameters
