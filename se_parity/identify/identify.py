"""Which facts a file's tensors do not tell, found from a few outputs of the code that the file came from.

Two networks of equal names and shapes may stride in different places, align their pool differently, or take their
channels and classes in another order. Each such hypothesis is run, and the outputs say which one holds.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from se_parity.identify.hypotheses import FACTS, Hypothesis, hypotheses, with_epsilons
from se_parity.judge.difference import logit_range
from se_parity.reference.oracle import Oracle
from se_parity.run.client import Worker
from se_weights import Checkpoint

TOLERANCE = 1e-4
"""Of the logits' range: what reproduces them. Two frameworks in float32 differ by up to 5e-6 (README), a network that
was run in TF32 or float16 by more, and then the tolerance must be told."""

TIE = 5.0
"""Hypotheses whose errors differ by less than this factor are not told apart: it is rounding that differs."""

ROUNDING = 1e-6
"""Errors below this share of the range are rounding, whatever their ratio."""


@dataclass(frozen=True, eq=False)
class Finding:
    """A hypothesis and how far it is from the outputs: the largest difference as a share of the logits' range, or the
    share of labels that differ."""

    hypothesis: Hypothesis
    error: float


@dataclass(frozen=True)
class Identification:
    """Every finding, nearest first, and which of them reproduce the outputs equally well."""

    findings: Sequence[Finding]
    limit: float
    from_labels: bool

    @property
    def reproducing(self) -> list[Finding]:
        """The findings that reproduce the outputs and cannot be told apart; none where nothing does."""
        tie = max(self.findings[0].error * TIE, ROUNDING)
        return [finding for finding in self.findings if finding.error <= min(self.limit, tie)]

    @property
    def identified(self) -> Finding | None:
        """The one reading that reproduces the outputs. Of several whose logits are the same, the one that a code base
        really has. Labels are too coarse for that: what they do not tell, but for an epsilon, is not told."""
        published = [finding for finding in self.reproducing if finding.hypothesis.dialect]
        candidates = published or self.reproducing
        told = not self.from_labels or set(self.untold) <= {"bn_epsilon"}
        return candidates[0] if len(candidates) == 1 and told else None

    @property
    def untold(self) -> list[str]:
        """The facts in which the readings that reproduce the outputs differ."""
        facts = [finding.hypothesis.to_dict() for finding in self.reproducing]
        return [fact for fact in FACTS if len({str(one[fact]) for one in facts}) > 1]

    @property
    def next_error(self) -> float | None:
        """How far off the nearest of the other readings is."""
        others = self.findings[len(self.reproducing) :]
        return others[0].error if others else None


def identify(
    checkpoints: Sequence[Checkpoint],
    images: NDArray,
    *,
    logits: NDArray | None = None,
    labels: NDArray | None = None,
    tolerance: float = TOLERANCE,
    on_step: Callable[[str], None] = lambda step: None,
) -> Identification:
    """Run every hypothesis that fits the tensors, and order them by how well they reproduce the outputs.

    `checkpoints` are all readings of one file (se_weights.read_every_way); `images` (N, C, H, W) as the original code
    was fed, or as whole pixels from 0 to 255; `logits` (N, classes) or `labels` (N) are what it gave.
    """
    if logits is None and labels is None:
        raise ValueError("identify needs the logits or the labels of the images")
    first, whole = (1 if logits is not None else len(images)), len(images)
    with ExitStack() as stack:
        runs = _Runs(stack, images)

        def look(at: Sequence[Hypothesis], count: int, what: str) -> dict[Hypothesis, float]:
            errors = {}
            for number, hypothesis in enumerate(at, start=1):
                on_step(f"{what} {number} of {len(at)}")
                ours = hypothesis.reordered(runs.logits(hypothesis, count))
                errors[hypothesis] = _error(ours, logits, labels)
            return errors

        classes = checkpoints[0].architecture.num_classes if logits is None else logits.shape[1]
        structures = list(hypotheses(checkpoints, images, classes))
        errors = look(structures, first, "hypothesis")
        errors |= look(with_epsilons(_nearest(errors, 3)), first, "epsilon")
        if min(errors.values()) > tolerance:
            errors |= look(with_epsilons(structures), first, "hypothesis and epsilon")
        if first < whole:
            reach = max(tolerance, min(errors.values()) * TIE)
            near = [hypothesis for hypothesis, error in errors.items() if error <= reach]
            errors |= look(list(dict.fromkeys([*near, *_nearest(errors, 5)])), whole, "all images")
    findings = [Finding(hypothesis, errors[hypothesis]) for hypothesis in _nearest(errors, len(errors))]
    return Identification(findings, tolerance if logits is not None else 0.0, logits is None)


class _Runs:
    """Runs hypotheses; what one shares with the one before it, its network and its logits, is not made twice.

    torch in a process of its own where it is installed, since it is quick; else the oracle.
    """

    def __init__(self, stack: ExitStack, images: NDArray) -> None:
        self.worker = stack.enter_context(Worker("torch")) if find_spec("torch") else None
        self.images = images
        self.network: tuple[object, ...] = ()
        self.last: tuple[object, ...] = ()
        self.outputs = np.empty(0)

    def logits(self, hypothesis: Hypothesis, count: int) -> NDArray:
        """The network's logits of the first images."""
        network = id(hypothesis.checkpoint), hypothesis.architecture
        if self.last != (network, hypothesis.preparation, count):
            images = hypothesis.preparation.apply(self.images[:count])
            self.outputs = self._run(hypothesis, network, images)
            self.last = network, hypothesis.preparation, count
        return self.outputs

    def _run(self, hypothesis: Hypothesis, network: tuple[object, ...], images: NDArray) -> NDArray:
        weights = hypothesis.checkpoint.weights
        if not self.worker:
            return Oracle(hypothesis.architecture, weights).logits(images)
        if self.network != network:
            self.worker.load(hypothesis.architecture, weights, "float32")
            self.network = network
        return self.worker.logits(images)


def _error(ours: NDArray, logits: NDArray | None, labels: NDArray | None) -> float:
    """How far ours are from the first of the outputs."""
    if logits is None:
        assert labels is not None
        return float(np.mean(ours.argmax(axis=1) != labels[: len(ours)]))
    theirs = logits[: len(ours)]
    distance = np.abs(ours - theirs).max() / logit_range(theirs)
    return float(distance) if np.isfinite(distance) else float("inf")


def _nearest(errors: dict[Hypothesis, float], count: int) -> list[Hypothesis]:
    return sorted(errors, key=lambda hypothesis: errors[hypothesis])[:count]
