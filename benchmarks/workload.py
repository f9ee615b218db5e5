"""What a subject is given to do."""

from dataclasses import dataclass

THREADS = 2
"""Of every framework, whatever the machine has."""


@dataclass(frozen=True)
class Workload:
    """Images (batch, 3, side, side) through a named network, forward or as one training step of SGD; so many rounds."""

    name: str
    network: str
    batch: int
    side: int
    rounds: int = 11
    warm_ups: int = 2

    @property
    def images(self) -> str:
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
