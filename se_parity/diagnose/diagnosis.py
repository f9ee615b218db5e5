"""Diagnose a framework: the layer at which it diverges from the reference, and the known fault that explains it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from se_parity.case import Case
from se_parity.diagnose.explain import Explanation, explain
from se_parity.diagnose.localise import Localisation, localise
from se_parity.run.client import Worker

MAX_SHOWN = 3
"""The number of explanations, and of layers of one explanation, that are reported."""


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """The diagnosis of one framework.

    Attributes:
        localisations: one for each dtype.
        explanations: of the first failing dtype, the nearest fault first; empty if all pass or if none was requested.
    """

    localisations: Sequence[Localisation]
    explanations: Sequence[Explanation]

    @property
    def framework(self) -> str:
        return self.localisations[0].framework

    @property
    def failing(self) -> Localisation | None:
        """The localisation in the first dtype in which a layer fails."""
        return next((localisation for localisation in self.localisations if not localisation.passed), None)

    def to_dict(self) -> dict[str, Any]:
        return {
            "framework": self.framework,
            "healthy": not self.failing,
            "found": [localisation.to_dict() for localisation in self.localisations],
            "explanations": [explanation.to_dict() for explanation in self.explanations[:MAX_SHOWN]],
            "says": self.sentences,
        }

    @property
    def sentences(self) -> list[str]:
        """Which layer fails, by how much, and which known fault explains it."""
        if not self.failing:
            dtypes = " and ".join(localisation.dtype for localisation in self.localisations)
            return [f"{self.framework}: every layer is within its limit in {dtypes}, in the running network and alone"]
        return [*_describe_layers(self.failing), *map(_describe_explanation, self.explanations[:1])]


def diagnose(
    worker: Worker, case: Case, dtypes: Sequence[str] = ("float64", "float32"), *, explained: bool = True
) -> Diagnosis:
    """Compare every layer with the reference in each dtype, and explain the first dtype that fails.

    Args:
        worker: a running worker; the case is loaded into it.
        case: a network, its weights and its images.
        dtypes: the one in which rounding hides least comes first.
        explained: whether to look for the known fault that explains a failure.
    """
    localisations = [localise(worker, case.astype(dtype), dtype) for dtype in dtypes]
    failing = Diagnosis(localisations, []).failing
    explanations = explain(case.astype(failing.dtype), failing) if explained and failing else []
    return Diagnosis(localisations, explanations)


def _describe_layers(failing: Localisation) -> list[str]:
    sentences = []
    first, layers = failing.first_diverging, failing.failing_layers
    if first:
        sentences.append(
            f"{failing.framework} in {failing.dtype} differs from the float64 reference at {first.path} "
            f"({first.operation}) by {first.running:.1e} of its range; limit {first.running_limit:.1e}"
        )
    if layers:
        more = f"; {len(layers) - 1} more layers fail" if len(layers) > 1 else ""
        sentences.append(
            f"failing layer, tested alone on the reference's input: {layers[0].path} ({layers[0].operation}), "
            f"{layers[0].times_limit:.1e} times its limit{more}"
        )
    else:
        sentences.append("every layer passes alone: the fault is in how layers are connected, or in the images")
    return sentences


def _describe_explanation(explanation: Explanation) -> str:
    layers = ", ".join(explanation.places[:MAX_SHOWN])
    more = f" and {len(explanation.places) - MAX_SHOWN} more" if len(explanation.places) > MAX_SHOWN else ""
    return (
        f"{explanation.verdict}, in {layers}{more}: with this fault the reference's output is within "
        f"{explanation.error:.1e} of the range, {explanation.margin_text}"
    )
