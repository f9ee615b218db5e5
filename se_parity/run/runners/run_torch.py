"""How a worker runs a network in PyTorch."""

import io
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray

import se_torch
from se_parity.recipe import Recipe
from se_parity.run.numerics import torch as numerics
from se_parity.run.runners import Batch, LayerOutputs, ModeMissing, RunFunction, TrainedStep, find_layers
from se_spec import Architecture
from se_torch import load_weights
from se_torch.families import new_model
from se_torch.network import Network
from se_torch.weights import read_gradients

__all__ = [
    "MODE_FUNCTIONS",
    "build",
    "environment",
    "layer_functions",
    "layer_outputs",
    "load_weights",
    "numerics",
    "train",
]


def environment() -> dict[str, str]:
    device = numerics.device()
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    return {"torch": torch.__version__, "device": name, "threads": str(torch.get_num_threads())}


def build(architecture: Architecture, dtype: str) -> Network:
    with torch.device("meta"):  # initialising weights only to replace them takes most of the time
        model = new_model(architecture)
    return model.to(getattr(torch, dtype)).to_empty(device=numerics.device()).eval()


def eager(model: torch.nn.Module, memory_format: torch.memory_format = torch.contiguous_format) -> RunFunction:
    """The mode "eager", operation by operation; also runs single layers and compiled modules.

    Args:
        model: a network or a layer.
        memory_format: of the images and the kernels.
    """

    def run(images: NDArray) -> NDArray:
        model.to(memory_format=memory_format)
        with torch.inference_mode():
            return array(model(tensor(images).contiguous(memory_format=memory_format)))

    return run


def channels_last(model: torch.nn.Module) -> RunFunction:
    return eager(model, torch.channels_last)


def compiled(model: torch.nn.Module) -> RunFunction:
    torch.compiler.reset()
    return eager(torch.compile(model))


def exported(model: torch.nn.Module) -> RunFunction:
    """Export, save, load and run, each time, since the file holds the weights."""

    def run(images: NDArray) -> NDArray:
        file = io.BytesIO()
        torch.export.save(torch.export.export(model, (tensor(images),)), file)
        file.seek(0)
        return eager(torch.export.load(file).module())(images)

    return run


def xla(model: torch.nn.Module) -> RunFunction:
    try:
        import torch_xla
    except ModuleNotFoundError as error:
        raise ModeMissing(
            "torch_xla is not installed: pass an interpreter that has it, --python torch.xla=PATH"
        ) from error
    device = torch_xla.device()
    on_device = model.to(device)

    def run(images: NDArray) -> NDArray:
        with torch.no_grad():
            logits = on_device(tensor(images).to(device))
            torch_xla.sync()
            return array(logits)

    return run


MODE_FUNCTIONS: dict[str, Callable[[torch.nn.Module], RunFunction]] = {
    "eager": eager,
    "channels_last": channels_last,
    "compile": compiled,
    "export": exported,
    "xla": xla,
}


def layer_functions(model: torch.nn.Module, paths: Sequence[str]) -> dict[str, RunFunction]:
    return {path: eager(layer) for path, layer in find_layers(model, paths, torch.nn.Module).items()}


def layer_outputs(model: torch.nn.Module, paths: Sequence[str]) -> LayerOutputs:
    def run(images: NDArray) -> dict[str, NDArray]:
        outputs: dict[str, NDArray] = {}

        def record(path: str) -> Callable[..., None]:
            def hook(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> None:
                outputs.setdefault(path, array(output))

            return hook

        layers = find_layers(model, paths, torch.nn.Module)
        hooks = [layer.register_forward_hook(record(path)) for path, layer in layers.items()]
        try:
            eager(model)(images)
        finally:
            for hook in hooks:
                hook.remove()
        return outputs

    return run


def train(model: Network, recipe: Recipe, batches: Sequence[Batch]) -> Iterator[TrainedStep]:
    shared = {"lr": recipe.learning_rates[0], "weight_decay": recipe.weight_decay}
    optimizers: dict[str, Callable[[], torch.optim.Optimizer]] = {
        "sgd": lambda: torch.optim.SGD(model.parameters(), momentum=recipe.momentum, **shared),
        "adamw": lambda: torch.optim.AdamW(model.parameters(), betas=recipe.betas, eps=recipe.epsilon, **shared),
    }
    optimizer = optimizers[recipe.optimiser]()
    model.train()
    for rate, (images, labels) in zip(recipe.learning_rates, batches, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(tensor(images)), torch.tensor(labels, device=numerics.device()))
        loss.backward()
        optimizer.step()
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        yield TrainedStep(loss.item(), partial(read_gradients, model, gradients), partial(se_torch.read_weights, model))
    model.eval()


def tensor(images: NDArray) -> torch.Tensor:
    """To torch, which cannot read numpy's bfloat16: its values pass through float32, which represents them exactly."""
    native = np.float32 if images.dtype == ml_dtypes.bfloat16 else images.dtype
    return torch.tensor(images.astype(native), device=numerics.device(), dtype=getattr(torch, images.dtype.name))


def array(tensor: torch.Tensor) -> NDArray:
    """To numpy; bfloat16 passes through float32 as well."""
    if tensor.dtype == torch.bfloat16:
        return tensor.float().numpy(force=True).astype(ml_dtypes.bfloat16)
    return tensor.numpy(force=True)
