"""The workloads that subjects run."""

from dataclasses import dataclass

THREADS = 2
"""The number of threads of every framework, on any machine."""


@dataclass(frozen=True)
class Workload:
    """A network and its input. Each subject decides what it runs: a forward pass, a training step, or compilation.

    Attributes:
        name: The name of the workload.
        network: The name of the architecture.
        batch: Images in a batch.
        side: Height and width of the images in pixels.
        rounds: How many rounds are run.
        warm_ups: How many of them are not counted.
    """

    name: str
    network: str
    batch: int
    side: int
    rounds: int = 11
    warm_ups: int = 2

    @property
    def images(self) -> str:
        """The shape of the input, as text."""
        return f"{self.batch} x {self.side} x {self.side}"


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("batch 8", "se_resnet50", 8, 224),
        Workload("batch 1", "se_resnet50", 1, 224),
        Workload("groups", "se_resnext50_32x4d", 8, 224),
        Workload("training", "se_resnet50", 16, 160, 7),
        Workload("compile", "se_resnet152", 1, 224, 3, 0),
    )
}
