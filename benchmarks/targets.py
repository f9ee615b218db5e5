"""The speed targets of the models, as a table of ratios."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.measure import Times


@dataclass(frozen=True)
class Target:
    """`subject` should take at most `limit` times as long as the fastest of `peers`.

    Attributes:
        workload: The name of the workload.
        subject: The subject that the target is for.
        peers: The subjects that it is compared with.
        limit: The largest allowed ratio of the median durations.
    """

    workload: str
    subject: str
    peers: tuple[str, ...]
    limit: float

    def ratio(self, times: Mapping[str, Times]) -> float:
        """The measured ratio, from the durations of each subject of the workload."""
        return times[self.subject].median / min(times[peer].median for peer in self.peers)


TIMM = ("timm eager",)
COMPILED = ("timm compiled",)
KERAS = ("plain Keras graph",)
KERAS_XLA = ("plain Keras XLA",)

MODEL_TARGETS = (
    ("torch eager", TIMM, 0.95),
    ("torch folded", TIMM, 0.80),
    ("torch compiled", COMPILED, 0.95),
    ("torch deployed", COMPILED, 0.95),
    ("torch deployed in bfloat16", TIMM, 0.50),
    ("Keras graph", KERAS, 0.95),
    ("Keras folded graph", KERAS, 0.85),
    ("Keras XLA", KERAS_XLA, 0.95),
    ("Keras deployed", KERAS + KERAS_XLA, 0.85),
    ("Flax jit", TIMM, 1.20),
    ("Flax folded jit", TIMM, 1.00),
    ("Flax deployed", TIMM, 1.00),
)

TARGETS = (
    *(Target(workload, *row) for workload in ("batch 8", "batch 1") for row in MODEL_TARGETS),
    Target("batch 8", "torch eager", ("torch eager without SE",), 1.06),
    Target("batch 8", "Keras graph", ("Keras graph without SE",), 1.06),
    Target("batch 8", "Flax jit", ("Flax jit without SE",), 1.06),
    Target("groups", "torch eager", TIMM, 1.00),
    Target("groups", "Keras graph", KERAS, 1.00),
    Target("groups", "Flax jit", ("torch eager",), 2.00),
    Target("groups", "Flax deployed", ("torch eager",), 2.00),
    Target("training", "torch training", ("timm training",), 1.00),
    Target("training", "Keras training", ("torch training",), 1.20),
    Target("training", "Flax training", ("torch training",), 1.20),
)

WITHOUT_TARGET = {
    "batch 8": ("timm eager, channels first", "torch eager, channels first", "Keras folded XLA"),
    "training": ("plain Keras training",),
    "compile": ("Keras compiling", "Flax compiling"),
}
"""Subjects that are measured but have no target, by workload."""


def subjects_of(workload: str) -> list[str]:
    """All subjects of a workload, beginning with the matrix product that shows the peak speed of the machine."""
    named = [
        subject for target in TARGETS if target.workload == workload for subject in (*target.peers, target.subject)
    ]
    return list(dict.fromkeys(["matmul", *named, *WITHOUT_TARGET.get(workload, ())]))
