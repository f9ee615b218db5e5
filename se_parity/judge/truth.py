"""The answer to a case that is true, and how far a framework may be from it."""

from dataclasses import dataclass

from se_parity.case import Case
from se_parity.judge.difference import logit_range
from se_parity.judge.limits import limit_share
from se_parity.reference.oracle import Array, Oracle


@dataclass(frozen=True, eq=False)
class Truth:
    """The oracle's logits, and how far an output in one dtype may be from them, as a share of their range."""

    logits: Array
    limit: float

    @property
    def range(self) -> float:
        return logit_range(self.logits)


def truth(case: Case, dtype: str) -> Truth:
    """The oracle's answer to a case that is `stored_as` the dtype."""
    logits = Oracle(case.architecture, case.weights).logits(case.images)
    return Truth(logits, limit_share(case.architecture, case.weights, case.images, logits, dtype))
