"""Reading and loading the weights of a PyTorch model, by canonical names."""

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import se_hub
import se_weights
from se_spec import Architecture, manifest
from se_torch.families import new_model
from se_torch.network import Network
from se_torch.parts import check_parts, unwrapped


def read_weights(model: Network) -> dict[str, NDArray]:
    """Copies of the model's weights.

    Args:
        model: the model to read; its classifier may have been replaced by another linear layer, and its stages may be
            compiled, wrapped for checkpointing or sharded by FSDP (`fully_shard`; every process calls this then).

    Returns:
        An array for each parameter of the architecture's manifest, by canonical name and on canonical axes.

    Raises:
        TypeError: for a model that contains the network, such as a functional Keras model or DistributedDataParallel.
        se_weights.WeightMismatch: with every difference, where another part of the network was replaced.
    """
    if not isinstance(getattr(model, "architecture", None), Architecture):
        kind = type(model).__name__
        raise TypeError(f"{kind} is not a network of se_torch: pass the network that it contains or was built on")
    check_parts(model)
    return {name: _gathered(tensor).numpy(force=True).copy() for name, tensor in _state(model).items()}


def read_gradients(model: Network, gradients: Iterable[Tensor]) -> dict[str, NDArray]:
    """Gradients as canonical arrays.

    Args:
        model: the model that they belong to.
        gradients: one gradient for each of `model.parameters()`, in that order.

    Returns:
        An array for each learned parameter, by canonical name and on canonical axes.
    """
    names = (name for name, _ in model.named_parameters())
    return {name: gradient.numpy(force=True).copy() for name, gradient in zip(names, gradients, strict=True)}


def load_weights(model: Network, weights: Mapping[str, NDArray]) -> None:
    """Copy canonical weights into the model, in its own dtype and on its own device.

    Args:
        model: the model to change; where it is sharded by FSDP, every process calls this with the same weights.
        weights: an array for each parameter of the architecture's manifest, by canonical name and on canonical axes.

    Raises:
        se_weights.WeightMismatch: with every difference, before anything is changed, unless all weights are there and
            have the right shapes.
    """
    se_weights.check("the mapping", model.architecture, weights)
    check_parts(model)
    state = _state(model)
    with torch.no_grad():
        for parameter in manifest(model.architecture):
            _assign(state[parameter.name], torch.from_numpy(_native(weights[parameter.name])))


def from_file(
    path: str | PathLike[str],
    *,
    dialect: str | None = None,
    architecture: Architecture | str | None = None,
    prefix: str | None = None,
    num_classes: int | None = None,
) -> Network:
    """The model in a weights file of any format and dialect, in evaluation mode and in torch's default dtype.

    Args:
        path: a weights file or folder, or an address: "hf://owner/name[@revision][/file]", or one of the catalogue.
        dialect: the dialect to read, where the file fits several; see `se-resnet inspect`.
        architecture: the architecture, or its name, where the file does not tell it.
        prefix: the prefix of the network, in a file that contains several, such as "student".
        num_classes: the number of classes to fine-tune for. Where the file has another number, a new classifier is
            started, and a warning is logged.

    Raises:
        se_weights.WeightsError: what `se_weights.read` raises for files that cannot be read, and `se_hub.fetch` for
            addresses.
    """
    checkpoint = se_hub.read(path, dialect=dialect, architecture=architecture, prefix=prefix)
    return model_of(checkpoint, num_classes)


def model_of(checkpoint: se_weights.Checkpoint, num_classes: int | None = None) -> Network:
    """A model with the weights of a checkpoint, as `from_file` returns it.

    Args:
        checkpoint: the weights.
        num_classes: the number of classes, as `from_file` takes it.
    """
    model = new_model(checkpoint.architecture)
    load_weights(model, checkpoint.weights)
    if num_classes is not None and num_classes != checkpoint.architecture.num_classes:
        se_weights.log_new_classifier(checkpoint, num_classes)
        model = model.reset_classifier(num_classes)
    model.preprocessing = checkpoint.preprocessing
    return model.eval()


def checkpoint_of(model: Network) -> se_weights.Checkpoint:
    """The model's weights with its architecture.

    Args:
        model: the model to read, as `read_weights` takes it.
    """
    weights = read_weights(model)
    metadata = {"preprocessing": model.preprocessing.text} if model.preprocessing else {}
    return se_weights.Checkpoint(model.architecture, weights, metadata=metadata)


def save(model: Network, path: str | PathLike[str], *, dialect: str | None = None, force: bool = False) -> None:
    """Write the model's weights with its architecture, for `from_file` and the other frameworks.

    Args:
        model: the model to save.
        path: the file or folder to write, whose suffix names the format, such as ".safetensors".
        dialect: the dialect to write, such as "timm"; the first one of the format by default.
        force: whether to overwrite a file that already exists.

    Raises:
        se_weights.WeightsError: what `se_weights.write` raises for files that cannot be written.
    """
    se_weights.write(checkpoint_of(model), path, dialect=dialect, force=force)


def save_pretrained(
    model: Network, folder: str | PathLike[str], *, dialect: str | None = None, licence: str = "", force: bool = False
) -> None:
    """Write a folder to share: weights, a config and a model card, which `from_file`, timm and the hub read.

    Args:
        model: the model to save.
        folder: the folder to write.
        dialect: the dialect to write; timm's where timm has the network.
        licence: the licence of the weights for the card, as the hub spells it, such as "apache-2.0".
        force: whether to overwrite a folder that already exists.

    Raises:
        se_weights.WeightsError: what `se_weights.save_pretrained` raises.
    """
    se_weights.save_pretrained(checkpoint_of(model), folder, dialect=dialect, licence=licence, force=force)


def _state(model: Network) -> dict[str, Tensor]:
    """The model's tensors by canonical name, in the order of the manifest."""
    state = {unwrapped(name): tensor for name, tensor in model.state_dict().items()}
    return {parameter.name: state[parameter.name] for parameter in manifest(model.architecture)}


def _is_sharded(tensor: Tensor) -> bool:
    """Whether it is a DTensor, whose module takes seconds to import and has been imported where there is one."""
    return hasattr(tensor, "full_tensor")


def _gathered(tensor: Any) -> Tensor:
    """The whole of a tensor that is sharded between processes."""
    return tensor.full_tensor() if _is_sharded(tensor) else tensor


def _assign(tensor: Any, values: Tensor) -> None:
    """Copy values into a tensor, or each process's part of them into a sharded one."""
    if _is_sharded(tensor):
        from torch.distributed.tensor import distribute_tensor

        values = distribute_tensor(values.to(tensor.device), tensor.device_mesh, tensor.placements)
    tensor.copy_(values)


def _native(array: NDArray) -> NDArray:
    """torch.from_numpy does not accept bfloat16, all of whose values float32 represents."""
    native = np.float32 if array.dtype.name == "bfloat16" else array.dtype
    return np.array(array, dtype=native, order="C", copy=True)
