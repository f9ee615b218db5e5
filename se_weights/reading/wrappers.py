"""Removes what training scripts and larger models wrap around a state dict.

Sources: timm 1.0.31, models/_helpers.py, for the first four keys and the first two prefixes; the others occur in
published SE checkpoints.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from se_weights.files import FileContents, Tensor

STATE_DICT_KEYS = ("state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict", "net", "weight")
"""Keys of a training checkpoint under which the weights are stored; the first one that is present is used."""

PREFIXES = ("module.", "_orig_mod.", "model.", "encoder.", "backbone.", "net.", "timm_model.")
"""Prefixes that DistributedDataParallel, torch.compile and models with a backbone add to every name."""

ENCODER = "encoder."
NOT_ENCODER = ("decoder.", "segmentation_head.", "classification_head.")
"""The other prefixes in the models of segmentation_models_pytorch, next to `encoder.`."""

KERAS_OPTIMIZER = "/optimizer/vars/"
"""Where Keras saves the variables of the optimizer of a compiled model, or of one inside another."""

COLLECTIONS = ("params", "batch_stats")
"""The collections of a Flax Linen network, next to which a TrainState has those of its optimizer."""

TRAINING_COLLECTIONS = re.compile(r"opt|ema|step|rng|scale|metric|epoch|loss|grad|averag", re.IGNORECASE)
"""What the names of the other collections of a TrainState contain."""

INSERTED_MODULES = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")
"""Modules that torch.compile, activation checkpointing and FSDP insert into the names of the modules that they wrap."""


@dataclass(frozen=True)
class Unwrapped:
    """The tensors of the network alone.

    Attributes:
        tensors: The tensors by name, without prefixes.
        wrappers: The keys and prefixes that were removed, the outermost first.
        ignored: The keys and prefixes of tensors that are not part of the network.
    """

    tensors: Mapping[str, Tensor]
    wrappers: tuple[str, ...]
    ignored: tuple[str, ...]

    def under(self, prefix: str) -> "Unwrapped":
        """The tensors under a prefix that ends with "." or "/"; the modules beside it are ignored."""
        others = {_branch(name, prefix) for name in self.tensors if not name.startswith(prefix)}
        tensors = {name.removeprefix(prefix): self.tensors[name] for name in self.tensors if name.startswith(prefix)}
        return Unwrapped(tensors, (*self.wrappers, prefix), tuple(sorted({*self.ignored, *others})))


def unwrap(contents: FileContents) -> Unwrapped:
    """Remove keys and prefixes that are around all weights, and tensors that are not part of the network."""
    wrappers: list[str] = []
    ignored: set[str] = set()
    tensors = dict(contents.tensors)
    for key in STATE_DICT_KEYS:
        inner = {name.removeprefix(f"{key}/"): tensors[name] for name in tensors if name.startswith(f"{key}/")}
        if inner:
            ignored |= {name.partition("/")[0] for name in tensors if not name.startswith(f"{key}/")}
            tensors = inner
            wrappers.append(key)
            break
    for prefix in sorted({name.partition("params/")[0] for name in tensors if "params/" in name}):
        collections = tuple(f"{prefix}{collection}/" for collection in COLLECTIONS)
        if all(any(name.startswith(collection) for name in tensors) for collection in collections):
            others = {_branch(name, prefix) for name in tensors if not name.startswith(collections)}
            training = tuple(other for other in others if TRAINING_COLLECTIONS.search(other.rpartition("/")[2]))
            ignored |= set(training)
            tensors = {
                name.removeprefix(prefix): tensor
                for name, tensor in tensors.items()
                if name.startswith(collections) or _branch(name, prefix) not in training
            }
            wrappers += [prefix] if prefix else []
            break
    if contents.training and any("/" not in name for name in tensors):
        # the weights are at the top level, so that the branches are those of an optimizer
        ignored |= {name.partition("/")[0] for name in tensors if "/" in name}
        tensors = {name: tensor for name, tensor in tensors.items() if "/" not in name}
    if any(name.endswith(".kernel") for name in tensors) and not any("/" in name for name in tensors):
        tensors = {name.replace(".", "/"): tensor for name, tensor in tensors.items()}  # a Flax tree, flattened
    network = {name: tensor for name, tensor in tensors.items() if KERAS_OPTIMIZER not in f"/{name}"}
    if len(network) < len(tensors):
        ignored.add("optimizer")
        tensors = network
    while shared := _shared_prefix(tensors):
        ignored |= {other for other in NOT_ENCODER if any(name.startswith(other) for name in tensors)}
        tensors = {name.removeprefix(shared): tensor for name, tensor in tensors.items() if name.startswith(shared)}
        wrappers.append(shared)
    inserted = [module for module in INSERTED_MODULES if any(module in name.split(".") for name in tensors)]
    shorter = {_without_modules(name, inserted): tensor for name, tensor in tensors.items()}
    if inserted and len(shorter) == len(tensors):
        tensors = shorter
        wrappers += [f"{module}." for module in inserted]
    return Unwrapped(tensors, tuple(wrappers), tuple(sorted(ignored)))


def _branch(name: str, prefix: str) -> str:
    """The module of a tensor at which its path leaves that of a prefix: `backbone.fpn` beside `backbone.body.`."""
    for separator in re.finditer("[./]", name):
        if not prefix.startswith(name[: separator.end()]):
            return name[: separator.start()]
    return name


def _without_modules(name: str, modules: Collection[str]) -> str:
    return ".".join(part for part in name.split(".") if part not in modules)


def _shared_prefix(tensors: Mapping[str, Tensor]) -> str | None:
    """The prefix of all names, apart from those of a decoder or head next to an encoder."""
    for prefix in PREFIXES:
        allowed = (prefix, *NOT_ENCODER) if prefix == ENCODER else (prefix,)
        if any(name.startswith(prefix) for name in tensors) and all(name.startswith(allowed) for name in tensors):
            return prefix
    return None
