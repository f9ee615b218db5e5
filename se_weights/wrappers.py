"""What training scripts wrap around a state_dict. Taken off in timm's order, and said.

Source: timm 1.0.31, models/_helpers.py.
"""

from collections.abc import Mapping

from numpy.typing import NDArray

HOLDERS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Keys under which a training checkpoint keeps its weights; the first that is there is taken."""

PREFIXES = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put before every name."""


def unwrap(tensors: Mapping[str, NDArray]) -> tuple[dict[str, NDArray], list[str]]:
    """The tensors without their wrappers, and the wrappers taken off, outermost first."""
    taken_off: list[str] = []
    inner = dict(tensors)
    for holder in HOLDERS:
        held = {
            name.removeprefix(f"{holder}/"): tensor for name, tensor in inner.items() if name.startswith(f"{holder}/")
        }
        if held:
            inner = held
            taken_off.append(holder)
            break
    while prefix := next(
        (prefix for prefix in PREFIXES if inner and all(name.startswith(prefix) for name in inner)), None
    ):
        inner = {name.removeprefix(prefix): tensor for name, tensor in inner.items()}
        taken_off.append(prefix)
    return inner, taken_off
