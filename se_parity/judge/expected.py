"""The expected logits of a case, and how far a framework's may be from them."""

from dataclasses import dataclass

from se_parity.case import Case
from se_parity.judge.difference import logit_range
from se_parity.judge.limits import logits_limit
from se_parity.reference.oracle import Array, Oracle


@dataclass(frozen=True, eq=False)
class ExpectedLogits:
    """The float64 reference's logits, and the limit for one dtype.

    Attributes:
        logits: (N, num_classes).
        limit: the largest difference allowed, as a share of the logits' range.
    """

    logits: Array
    limit: float

    @property
    def range(self) -> float:
        return logit_range(self.logits)


def expected_logits(case: Case, dtype: str) -> ExpectedLogits:
    """Run the reference on a case.

    Args:
        case: the case, already rounded to the dtype (`Case.astype`).
        dtype: the dtype of the outputs that will be compared, which sets their limit.
    """
    logits = Oracle(case.architecture, case.weights).logits(case.images)
    return ExpectedLogits(logits, logits_limit(case.architecture, case.weights, case.images, logits, dtype))
