"""Which frameworks, modes, dtypes, batches and sizes to run: a quick selection, all, or those of a golden file."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from se_parity.judge.matrix import DTYPES
from se_parity.run.modes import QUICK_MODES, modes_of
from se_weights import MalformedFile

RUN_NAME = re.compile(r"(\w+) (\w+), (\w+), (\d+) x (\d+)x(\d+)$")
"""The name of a run: framework, mode, dtype, number of images, and their height and width."""


@dataclass(frozen=True)
class RunSelection:
    """A selection of runs.

    Attributes:
        frameworks: names of frameworks; none stands for those that are installed.
        modes: names of modes; none stands for all.
        dtypes: names of dtypes.
        batches: numbers of images.
        sizes: heights and widths of images, in pixels.
    """

    frameworks: Sequence[str]
    modes: Sequence[str]
    dtypes: Sequence[str]
    batches: Sequence[int]
    sizes: Sequence[tuple[int, int]]


QUICK = RunSelection((), QUICK_MODES, ("float64", "float32"), (2,), ((64, 49),))
EVERYTHING = RunSelection((), (), DTYPES, (1, 3), ((64, 49),))


def golden_selection(golden: Mapping[str, Any]) -> RunSelection:
    """The selection that the runs of a golden file were made of, without its stress cases.

    Args:
        golden: what `read_golden` returned.

    Raises:
        MalformedFile: it has no runs that can be run again.
    """
    matches = [RUN_NAME.match(run["run"]) for run in golden["runs"]]
    runs = [match.groups() for match in matches if match and _is_known(*match.groups()[:3])]
    if not runs:
        raise MalformedFile("the golden file has no runs of a framework, mode and dtype that are known")
    frameworks, modes, dtypes, batches, heights, widths = zip(*runs, strict=True)
    sizes = zip(map(int, heights), map(int, widths), strict=True)
    return RunSelection(
        *(list(dict.fromkeys(values)) for values in (frameworks, modes, dtypes, map(int, batches), sizes))
    )


def _is_known(framework: str, mode: str, dtype: str) -> bool:
    return bool(modes_of(framework, [mode])) and dtype in DTYPES
