"""Removes what training scripts and larger models wrap around a state dict.

Sources: timm 1.0.31, models/_helpers.py, for the first four keys and the first two prefixes; the others occur in
published SE checkpoints.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

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

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the tensors by name."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}

    def under(self, prefix: str) -> "Unwrapped":
        """The tensors under a prefix that ends with "." or "/"; the modules beside it are ignored."""
        return self.keep(prefix, {_branch(name, prefix) for name in self.tensors if not name.startswith(prefix)})

    def keep(self, prefix: str, ignored: Collection[str], wrapper: str | None = None) -> "Unwrapped":
        """The tensors under a prefix, without it.

        Args:
            prefix: The prefix; empty for all tensors.
            ignored: What is ignored in addition.
            wrapper: How the prefix is named among the wrappers, if not as it is.
        """
        tensors = {name.removeprefix(prefix): self.tensors[name] for name in self.tensors if name.startswith(prefix)}
        wrappers = (*self.wrappers, wrapper or prefix) if prefix else self.wrappers
        return Unwrapped(tensors, wrappers, tuple(sorted({*self.ignored, *ignored})))


def unwrap(contents: FileContents) -> Unwrapped:
    """Remove keys and prefixes that are around all weights, and tensors that are not part of the network."""
    found = _under_state_dict_key(Unwrapped(contents.tensors, (), ()))
    found = _without_training_collections(found)
    if contents.training:
        found = _without_branches(found)
    found = _without_keras_optimizer(_with_slashes(found))
    return _without_inserted_modules(_under_shared_prefixes(found))


def _under_state_dict_key(found: Unwrapped) -> Unwrapped:
    for key in STATE_DICT_KEYS:
        if any(name.startswith(f"{key}/") for name in found.tensors):
            ignored = {name.partition("/")[0] for name in found.tensors} - {key}
            return found.keep(f"{key}/", ignored, wrapper=key)
    return found


def _without_training_collections(found: Unwrapped) -> Unwrapped:
    """The collections of a Flax network, where they are beside those of its training."""
    for prefix in sorted({name.partition("params/")[0] for name in found.tensors if "params/" in name}):
        collections = tuple(f"{prefix}{collection}/" for collection in COLLECTIONS)
        if all(any(name.startswith(collection) for name in found.tensors) for collection in collections):
            others = {_branch(name, prefix) for name in found.tensors if not name.startswith(collections)}
            training = {other for other in others if TRAINING_COLLECTIONS.search(other.rpartition("/")[2])}
            kept = {name: each for name, each in found.tensors.items() if _branch(name, prefix) not in training}
            return replace(found, tensors=kept).keep(prefix, training)
    return found


def _without_branches(found: Unwrapped) -> Unwrapped:
    """The weights at the top level of a training checkpoint, where its branches are those of an optimizer."""
    if not any("." in name and "/" not in name for name in found.tensors):
        return found
    tensors = {name: tensor for name, tensor in found.tensors.items() if "/" not in name}
    return replace(found, tensors=tensors).keep("", {name.partition("/")[0] for name in found.tensors if "/" in name})


def _with_slashes(found: Unwrapped) -> Unwrapped:
    """The tree of a Flax network whose levels are joined by dots."""
    if any("/" in name for name in found.tensors) or not any(name.endswith(".kernel") for name in found.tensors):
        return found
    return replace(found, tensors={name.replace(".", "/"): tensor for name, tensor in found.tensors.items()})


def _without_keras_optimizer(found: Unwrapped) -> Unwrapped:
    tensors = {name: tensor for name, tensor in found.tensors.items() if KERAS_OPTIMIZER not in f"/{name}"}
    return replace(found, tensors=tensors).keep("", {"optimizer"} if len(tensors) < len(found.tensors) else set())


def _under_shared_prefixes(found: Unwrapped) -> Unwrapped:
    while prefix := _shared_prefix(found.tensors):
        ignored = {other for other in NOT_ENCODER if any(name.startswith(other) for name in found.tensors)}
        found = found.keep(prefix, ignored)
    return found


def _without_inserted_modules(found: Unwrapped) -> Unwrapped:
    inserted = [module for module in INSERTED_MODULES if any(module in name.split(".") for name in found.tensors)]
    tensors = {_without_modules(name, inserted): tensor for name, tensor in found.tensors.items()}
    if not inserted or len(tensors) < len(found.tensors):
        return found
    return replace(found, tensors=tensors, wrappers=(*found.wrappers, *(f"{module}." for module in inserted)))


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
