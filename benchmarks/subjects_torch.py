"""Subjects in PyTorch: ours and timm's. Runs where timm is installed."""

from collections.abc import Callable

import timm
import torch
from torch import nn

import se_torch
from benchmarks.workload import THREADS, Workload
from se_torch.inference import fold_batchnorm, optimize_for_inference

PEERS = {"se_resnet50": "seresnet50", "se_resnext50_32x4d": "seresnext50_32x4d"}
"""timm's names of the networks."""

Step = Callable[[], object]


def versions() -> dict[str, str]:
    torch.set_num_threads(THREADS)
    return {"torch": torch.__version__, "timm": timm.__version__}


def ours(workload: Workload) -> nn.Module:
    torch.manual_seed(0)
    return se_torch.create_model(workload.network).eval()


def without_se(workload: Workload) -> nn.Module:
    torch.manual_seed(0)
    return se_torch.create_model(workload.network.removeprefix("se_")).eval()


def peer(workload: Workload) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(PEERS[workload.network]).eval()


def images(workload: Workload) -> torch.Tensor:
    shape = workload.batch, 3, workload.side, workload.side
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def forward(model: nn.Module, workload: Workload, memory_format: torch.memory_format = torch.channels_last) -> Step:
    """A forward pass in inference mode; by default with channels last, where both ours and timm are faster."""
    model = model.to(memory_format=memory_format)
    given = images(workload).contiguous(memory_format=memory_format)

    @torch.inference_mode()
    def step() -> object:
        return model(given)

    return step


def deployed(workload: Workload, dtype: torch.dtype | None = None) -> Step:
    function, given = optimize_for_inference(ours(workload), dtype=dtype), images(workload)
    return lambda: function(given)


def training(model: nn.Module, workload: Workload) -> Step:
    """A step of SGD with momentum, channels last."""
    model = model.train().to(memory_format=torch.channels_last)
    given = images(workload).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(workload.batch)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(given), labels).backward()
        optimizer.step()

    return step


def matmul(workload: Workload) -> Step:
    """What the machine can do at best: a product of two matrices of 2048 x 2048."""
    one, other = torch.randn(2, 2048, 2048)
    return lambda: one @ other


SUBJECTS: dict[str, Callable[[Workload], Step]] = {
    "matmul": matmul,
    "timm eager": lambda w: forward(peer(w), w),
    "timm eager, channels first": lambda w: forward(peer(w), w, torch.contiguous_format),
    "timm compiled": lambda w: forward(torch.compile(peer(w)), w),
    "timm training": lambda w: training(peer(w), w),
    "torch eager": lambda w: forward(ours(w), w),
    "torch eager, channels first": lambda w: forward(ours(w), w, torch.contiguous_format),
    "torch eager without SE": lambda w: forward(without_se(w), w),
    "torch folded": lambda w: forward(fold_batchnorm(ours(w)), w),
    "torch compiled": lambda w: forward(torch.compile(ours(w)), w),
    "torch deployed": deployed,
    "torch deployed in bfloat16": lambda w: deployed(w, torch.bfloat16),
    "torch training": lambda w: training(ours(w), w),
}
