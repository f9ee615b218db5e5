"""What is wrong with a framework: where it leaves the truth, and which known fault gives the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from se_parity.case import Case
from se_parity.diagnose.explain import Explanation, explain
from se_parity.diagnose.localise import Localisation, localise
from se_parity.run.client import Worker

SHOWN = 3
"""Explanations, and places of one, that are worth a person's eye."""


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What was found in each dtype that was looked at; `explanations` are of the first that leaves the truth, nearest
    first, and none where nothing does or none were asked for."""

    found: Sequence[Localisation]
    explanations: Sequence[Explanation]

    @property
    def framework(self) -> str:
        return self.found[0].framework

    @property
    def failing(self) -> Localisation | None:
        """What was found in the first dtype in which something leaves the truth: rounding hides the least in it."""
        return next((found for found in self.found if not found.healthy), None)

    def to_dict(self) -> dict[str, Any]:
        nearest = [explanation.to_dict() for explanation in self.explanations[:SHOWN]]
        looked = {"healthy": not self.failing, "found": [found.to_dict() for found in self.found]}
        return {"framework": self.framework, **looked, "explanations": nearest, "says": self.sentences}

    @property
    def sentences(self) -> list[str]:
        """For a person: where, what, by how much."""
        if not self.failing:
            dtypes = " and ".join(found.dtype for found in self.found)
            return [f"{self.framework}: every part is within its limit in {dtypes}, running and by itself"]
        return [*_where(self.failing), *(_why(explanation) for explanation in self.explanations[:1])]


def diagnose(
    worker: Worker, case: Case, dtypes: Sequence[str] = ("float64", "float32"), *, explained: bool = True
) -> Diagnosis:
    """Look at every part in each dtype, and explain the first in which something leaves the truth."""
    found = [localise(worker, case.stored_as(dtype), dtype) for dtype in dtypes]
    diagnosis = Diagnosis(found, [])
    if not explained or not diagnosis.failing:
        return diagnosis
    return Diagnosis(found, explain(case.stored_as(diagnosis.failing.dtype), diagnosis.failing))


def _where(failing: Localisation) -> list[str]:
    first, faulty = failing.first, failing.faulty
    told = []
    if first:
        told.append(
            f"{failing.framework} in {failing.dtype} leaves the truth at {first.path} ({first.operation}), by "
            f"{first.running:.1e} of its range; the limit is {first.running_limit:.1e}"
        )
    if faulty:
        others = f", and {len(faulty) - 1} more parts" if len(faulty) > 1 else ""
        told.append(
            f"wrong by itself, given the true input: {faulty[0].path} ({faulty[0].operation}), by {faulty[0].jump:.1e} "
            f"times its limit{others}"
        )
    else:
        told.append("no part is wrong by itself: what is between them is, or what they are given")
    return told


def _why(explanation: Explanation) -> str:
    places = ", ".join(explanation.places[:SHOWN])
    others = f" and {len(explanation.places) - SHOWN} more" if len(explanation.places) > SHOWN else ""
    return (
        f"{explanation.says}, in {places}{others}: planted in the oracle it comes within "
        f"{explanation.error:.1e} of the range, {explanation.nearness}"
    )
