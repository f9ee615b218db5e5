"""What training scripts and larger models wrap around a state_dict. Taken off in timm's order, and said.

Sources: timm 1.0.31, models/_helpers.py, for the first four holders and the first two prefixes; the others are those of
published SE checkpoints.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from se_weights.files import FileContents, Tensor

HOLDERS = ("state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict", "net", "weight")
"""Keys under which a training checkpoint keeps its weights; the first that is there is taken."""

PREFIXES = ("module.", "_orig_mod.", "model.", "encoder.", "backbone.", "net.", "timm_model.")
"""What DistributedDataParallel, torch.compile and models that hold a network put before every name."""

BESIDE = ("decoder.", "segmentation_head.", "classification_head.")
"""What stands beside the `encoder.` of segmentation_models_pytorch."""


@dataclass(frozen=True)
class Unwrapped:
    """The network's tensors; the wrappers taken off, outermost first; and what was left because it is no part of it."""

    tensors: Mapping[str, Tensor]
    wrappers: tuple[str, ...]
    left: tuple[str, ...]


def unwrap(stored: FileContents) -> Unwrapped:
    """The tensors without their wrappers."""
    wrappers: list[str] = []
    inner = dict(stored.tensors)
    for holder in HOLDERS:
        held = {name.removeprefix(f"{holder}/"): inner[name] for name in inner if name.startswith(f"{holder}/")}
        if held:
            inner = held
            wrappers.append(holder)
            break
    left = set()
    if stored.training and any(
        "/" not in name for name in inner
    ):  # weights, with an optimiser's tensors on branches beside them
        left |= {name.partition("/")[0] for name in inner if "/" in name}
        inner = {name: tensor for name, tensor in inner.items() if "/" not in name}
    while prefix := _shared_prefix(inner):
        left |= {other for other in BESIDE if any(name.startswith(other) for name in inner)}
        inner = {name.removeprefix(prefix): tensor for name, tensor in inner.items() if name.startswith(prefix)}
        wrappers.append(prefix)
    return Unwrapped(inner, tuple(wrappers), tuple(sorted(left)))


def _shared_prefix(tensors: Mapping[str, Tensor]) -> str | None:
    """The prefix that every name has, but for what stands beside an encoder."""
    for prefix in PREFIXES:
        beside = BESIDE if prefix == "encoder." else ()
        if any(name.startswith(prefix) for name in tensors) and all(
            name.startswith((prefix, *beside)) for name in tensors
        ):
            return prefix
    return None
