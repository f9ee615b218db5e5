"""Subjects in PyTorch: our models and timm's. Needs timm."""

from collections.abc import Callable

import timm
import torch
from torch import nn

import se_torch
from benchmarks.workload import THREADS, Workload
from se_torch.inference import fold_batchnorm, optimize_for_inference

PEERS = {"se_resnet50": "seresnet50", "se_resnext50_32x4d": "seresnext50_32x4d"}
"""What timm calls the networks."""

Step = Callable[[], object]


def configure() -> dict[str, str]:
    """Set up the framework, and return the versions of its libraries."""
    torch.set_num_threads(THREADS)
    return {"torch": torch.__version__, "timm": timm.__version__}


def our_model(workload: Workload) -> nn.Module:
    torch.manual_seed(0)
    return se_torch.create_model(workload.network).eval()


def model_without_se(workload: Workload) -> nn.Module:
    torch.manual_seed(0)
    return se_torch.create_model(workload.network.removeprefix("se_")).eval()


def peer_model(workload: Workload) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(PEERS[workload.network]).eval()


def images(workload: Workload) -> torch.Tensor:
    shape = workload.batch, 3, workload.side, workload.side
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def forward(model: nn.Module, workload: Workload, memory_format: torch.memory_format = torch.channels_last) -> Step:
    """A forward pass in inference mode, by default in channels_last, where our models and timm's are both faster."""
    model = model.to(memory_format=memory_format)
    inputs = images(workload).contiguous(memory_format=memory_format)

    @torch.inference_mode()
    def step() -> object:
        return model(inputs)

    return step


def deployed(workload: Workload, dtype: torch.dtype | None = None) -> Step:
    function, inputs = optimize_for_inference(our_model(workload), dtype=dtype), images(workload)
    return lambda: function(inputs)


def training(model: nn.Module, workload: Workload) -> Step:
    """One training step of SGD with momentum, in channels_last."""
    model = model.train().to(memory_format=torch.channels_last)
    inputs = images(workload).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(workload.batch)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()

    return step


def matmul(workload: Workload) -> Step:
    """A product of two matrices of 2048 x 2048, which shows the peak speed of the machine."""
    a, b = torch.randn(2, 2048, 2048)
    return lambda: a @ b


SUBJECTS: dict[str, Callable[[Workload], Step]] = {
    "matmul": matmul,
    "timm eager": lambda w: forward(peer_model(w), w),
    "timm eager, channels first": lambda w: forward(peer_model(w), w, torch.contiguous_format),
    "timm compiled": lambda w: forward(torch.compile(peer_model(w)), w),
    "timm training": lambda w: training(peer_model(w), w),
    "torch eager": lambda w: forward(our_model(w), w),
    "torch eager, channels first": lambda w: forward(our_model(w), w, torch.contiguous_format),
    "torch eager without SE": lambda w: forward(model_without_se(w), w),
    "torch folded": lambda w: forward(fold_batchnorm(our_model(w)), w),
    "torch compiled": lambda w: forward(torch.compile(our_model(w)), w),
    "torch deployed": deployed,
    "torch deployed in bfloat16": lambda w: deployed(w, torch.bfloat16),
    "torch training": lambda w: training(our_model(w), w),
}
