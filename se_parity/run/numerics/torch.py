"""The numerical settings of PyTorch.

`torch.backends.fp32_precision` does not apply to cuDNN's convolutions (pytorch #179445), so each backend is set by
itself. The older `allow_tf32` is set as well: torch.export reads it, and torch 2.13 raises where the two disagree.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from numpy.typing import NDArray

from se_parity.run.numerics import DeviceMissing

_BACKENDS = torch.backends

SETTINGS: list[tuple[Any, str, Any]] = [
    (_BACKENDS.cuda.matmul, "fp32_precision", "ieee"),
    (_BACKENDS.cudnn, "allow_tf32", False),
    (_BACKENDS.cudnn.conv, "fp32_precision", "ieee"),
    (_BACKENDS.cudnn.rnn, "fp32_precision", "ieee"),
    (_BACKENDS.mkldnn.matmul, "fp32_precision", "ieee"),
    (_BACKENDS.mkldnn.conv, "fp32_precision", "ieee"),
    (_BACKENDS.cudnn, "benchmark", False),
    (_BACKENDS.cudnn, "deterministic", True),
]
"""Module, attribute and value; restored in the same order, since `allow_tf32` must come first."""

_device = torch.device("cpu")


@contextmanager
def exact(device: str) -> Iterator[torch.device]:
    """Full float32, deterministic sums, denormals kept; yields the device to run on."""
    global _device
    if device == "gpu" and not torch.cuda.is_available():
        raise DeviceMissing("torch sees no GPU: install a CUDA build of torch, or use --device cpu")
    before = [(place, name, getattr(place, name)) for place, name, _ in SETTINGS]
    deterministic = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    _device = torch.device("cuda" if device == "gpu" else "cpu")
    try:
        for place, name, value in SETTINGS:
            setattr(place, name, value)
        torch.use_deterministic_algorithms(True)
        torch.set_flush_denormal(False)  # torch has no getter for it; False is its default
        yield _device
    finally:
        for place, name, value in before:
            setattr(place, name, value)
        torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
        _device = torch.device("cpu")


def device() -> torch.device:
    """The device that `exact` selected."""
    return _device


def multiply(a: NDArray, b: NDArray) -> NDArray:
    return (torch.tensor(a, device=_device) @ torch.tensor(b, device=_device)).numpy(force=True)


def convolve(images: NDArray, kernel: NDArray) -> NDArray:
    x, w = torch.tensor(images, device=_device), torch.tensor(kernel, device=_device)
    return torch.nn.functional.conv2d(x, w).numpy(force=True)


def scale(a: NDArray, factor: float) -> NDArray:
    return (torch.tensor(a, device=_device) * factor).numpy(force=True)
