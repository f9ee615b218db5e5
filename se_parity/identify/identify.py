"""Find the config that a file's tensors cannot show, from a few outputs of the code that the file comes from.

Two networks with the same tensor names and shapes may stride in different layers, align their max-pool differently, or
order channels and classes differently. Each such hypothesis is run, and the outputs decide among them.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from se_parity.identify.hypotheses import Hypothesis, hypotheses, with_epsilons
from se_parity.identify.known_outputs import KnownOutputs, known_outputs
from se_parity.reference.oracle import Oracle
from se_parity.run.client import Worker
from se_weights import Checkpoint

TOLERANCE = 1e-4
"""The default tolerance, as a share of the logits' range. Two frameworks in float32 differ by up to 5e-6
(docs/guide/parity.md); outputs of a network that ran in TF32 or float16 need a larger tolerance."""

TIE = 5.0
"""Hypotheses whose errors differ by less than this factor are not distinguished: the difference may be rounding."""

ROUNDING = 1e-6
"""Errors below this share of the range are rounding, whatever their ratio."""


@dataclass(frozen=True, eq=False)
class HypothesisResult:
    """A hypothesis and how far its outputs are from the given ones.

    Attributes:
        hypothesis: what was run.
        error: as `KnownOutputs.error` gives it.
    """

    hypothesis: Hypothesis
    error: float


@dataclass(frozen=True)
class Identification:
    """The result of `identify`.

    Attributes:
        results: of every hypothesis, the smallest error first.
        limit: the largest error of a match.
        outputs: what was compared: "logits", "probabilities" or "labels".
    """

    results: Sequence[HypothesisResult]
    limit: float
    outputs: str

    @property
    def matches(self) -> list[HypothesisResult]:
        """The hypotheses that reproduce the outputs equally well."""
        tie = max(self.results[0].error * TIE, ROUNDING)
        return [result for result in self.results if result.error <= min(self.limit, tie)]

    @property
    def identified(self) -> HypothesisResult | None:
        """The one hypothesis that reproduces the outputs, or None.

        Among several matches, the only one that a known code base implements is chosen. That is safe if their logits
        are the same, but not if only their labels are: then the matches may differ in their epsilon at most.
        """
        candidates = [match for match in self.matches if match.hypothesis.dialect] or self.matches
        decided = self.outputs != "labels" or set(self.undetermined) <= {"bn_epsilon"}
        return candidates[0] if len(candidates) == 1 and decided else None

    @property
    def undetermined(self) -> list[str]:
        """The fields in which the matches differ, apart from the dialect."""
        fields = [match.hypothesis.to_dict() for match in self.matches] or [{}]
        return [name for name in fields[0] if name != "dialect" and len({str(values[name]) for values in fields}) > 1]

    @property
    def next_error(self) -> float | None:
        """The smallest error of a hypothesis that is not a match."""
        others = self.results[len(self.matches) :]
        return others[0].error if others else None


def identify(
    checkpoints: Sequence[Checkpoint],
    images: NDArray,
    *,
    logits: NDArray | None = None,
    probabilities: NDArray | None = None,
    labels: NDArray | None = None,
    tolerance: float = TOLERANCE,
    on_step: Callable[[str], None] = lambda step: None,
) -> Identification:
    """Run every hypothesis that fits the tensors, and order them by how well they reproduce the outputs.

    Args:
        checkpoints: one file as each dialect that matches it (`se_weights.read_candidates`).
        images: (N, C, H, W), as the original network received them, or as pixels from 0 to 255.
        logits: (N, num_classes), of the original code, as `known_outputs` takes them.
        probabilities: (N, num_classes), of an original network that ends in a softmax.
        labels: (N), of the original code; used where there is neither.
        tolerance: the largest difference of matching logits, as a share of their range.
        on_step: called with a description before each run.

    Raises:
        ValueError: no outputs are given, or `probabilities` are none.
    """
    outputs = known_outputs(logits=logits, probabilities=probabilities, labels=labels)
    first_count, full_count = (len(images) if outputs.are_labels else 1), len(images)
    with ExitStack() as stack:
        runner = _HypothesisRunner(stack, images)
        first: dict[tuple[object, ...], Hypothesis] = {}  # with each key; it stands for the others

        def run_all(candidates: Sequence[Hypothesis], count: int, description: str) -> dict[Hypothesis, float]:
            errors = {}
            distinct = dict.fromkeys(first.setdefault(hypothesis.key, hypothesis) for hypothesis in candidates)
            for number, hypothesis in enumerate(distinct, start=1):
                on_step(f"{description} {number} of {len(distinct)}")
                errors[hypothesis] = outputs.error(hypothesis.reorder_classes(runner.logits(hypothesis, count)))
            return errors

        structures = first_hypotheses(checkpoints, images, outputs)
        errors = run_all(structures, first_count, "hypothesis")
        errors |= run_all(with_epsilons(_nearest(errors, 3)), first_count, "epsilon")
        if min(errors.values()) > tolerance:
            errors |= run_all(with_epsilons(structures), first_count, "hypothesis and epsilon")
        if first_count < full_count:
            reach = max(tolerance, min(errors.values()) * TIE)
            near = [hypothesis for hypothesis, error in errors.items() if error <= reach]
            errors |= run_all(list(dict.fromkeys([*near, *_nearest(errors, 5)])), full_count, "all images")
    results = [HypothesisResult(hypothesis, errors[hypothesis]) for hypothesis in _nearest(errors, len(errors))]
    return Identification(results, 0.0 if outputs.are_labels else tolerance, outputs.kind)


def first_hypotheses(checkpoints: Sequence[Checkpoint], images: NDArray, outputs: KnownOutputs) -> list[Hypothesis]:
    """The hypotheses that `identify` runs first, with the epsilon that their dialect implies.

    Args:
        checkpoints: as `identify` takes them, like `images`.
        images: (N, C, H, W).
        outputs: of the original code for the images.
    """
    classes = checkpoints[0].architecture.num_classes if outputs.are_labels else outputs.values.shape[1]
    return list(hypotheses(checkpoints, images, classes))


class _HypothesisRunner:
    """Runs hypotheses, and reuses the network or the logits of the previous one where they are the same.

    It runs them in a torch worker where torch is installed, since that is faster, and else in the float64 reference.
    """

    def __init__(self, stack: ExitStack, images: NDArray) -> None:
        self.worker = stack.enter_context(Worker("torch")) if find_spec("torch") else None
        self.images = images
        self.loaded_network: tuple[object, ...] = ()
        self.last_run: tuple[object, ...] = ()
        self.outputs = np.empty(0)

    def logits(self, hypothesis: Hypothesis, count: int) -> NDArray:
        """The network's logits for the first `count` images."""
        network = id(hypothesis.checkpoint), hypothesis.architecture
        run = network, hypothesis.input_transform, count
        if self.last_run != run:
            images = hypothesis.input_transform.apply(self.images[:count])
            self.outputs = self._run(hypothesis, network, images)
            self.last_run = run
        return self.outputs

    def _run(self, hypothesis: Hypothesis, network: tuple[object, ...], images: NDArray) -> NDArray:
        weights = hypothesis.checkpoint.weights
        if not self.worker:
            return Oracle(hypothesis.architecture, weights).logits(images)
        if self.loaded_network != network:
            self.worker.load(hypothesis.architecture, weights, "float32")
            self.loaded_network = network
        return self.worker.logits(images)


def _nearest(errors: dict[Hypothesis, float], count: int) -> list[Hypothesis]:
    return sorted(errors, key=lambda hypothesis: errors[hypothesis])[:count]
