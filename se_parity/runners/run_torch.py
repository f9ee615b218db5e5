"""A worker's work in PyTorch."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

import se_torch
from se_parity.runners import DeviceMissing
from se_spec import Architecture

Run = Callable[[NDArray], NDArray]

_device = torch.device("cpu")


def prepare(device: str) -> None:
    """No TF32 in any kernel: the setting for matrix products does not reach cuDNN's convolutions (pytorch #179445)."""
    global _device
    if device == "gpu" and not torch.cuda.is_available():
        raise DeviceMissing("torch sees no GPU: install a CUDA build of torch, or use --device cpu")
    _device = torch.device("cuda" if device == "gpu" else "cpu")
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def environment() -> dict[str, str]:
    name = torch.cuda.get_device_name() if _device.type == "cuda" else "cpu"
    return {"torch": torch.__version__, "device": name, "threads": str(torch.get_num_threads())}


def load(architecture: Architecture, weights: Mapping[str, NDArray], dtype: str) -> se_torch.SEResNet:
    with torch.device("meta"):  # drawing weights only to replace them takes most of the time
        model = se_torch.SEResNet(architecture)
    model = model.to(getattr(torch, dtype)).to_empty(device=_device).eval()
    se_torch.load_weights(model, weights)
    return model


def eager(model: torch.nn.Module) -> Run:
    def run(images: NDArray) -> NDArray:
        with torch.inference_mode():
            return model(torch.tensor(images, device=_device)).numpy(force=True)

    return run


def compiled(model: torch.nn.Module) -> Run:
    torch.compiler.reset()
    return eager(torch.compile(model))


MODES = {"eager": eager, "compile": compiled}


def features(model: se_torch.SEResNet) -> Callable[[NDArray], dict[str, NDArray]]:
    def run(images: NDArray) -> dict[str, NDArray]:
        outputs = {}
        with torch.inference_mode():
            x = model.stem(torch.tensor(images, device=_device))
            for name, block in model.blocks():
                x = block(x)
                outputs[name] = np.ascontiguousarray(x.numpy(force=True))
        return outputs

    return run
