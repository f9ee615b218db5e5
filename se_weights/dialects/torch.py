"""The canonical names, as `se_torch` and torchvision's ResNet spell them in a state_dict; what torch dialects share."""

from collections.abc import Callable

from se_spec import Architecture, Parameter, Role, named_like
from se_spec.manifest import CANONICAL_LAYERS, CANONICAL_WORDS
from se_weights.dialects.dialect import Config, Dialect, Layers, Place
from se_weights.preprocessing import IMAGENET, Preprocessing


def placed(layers: Layers, gate_axes: str = "OI") -> Callable[[Parameter, Architecture], Place]:
    """Places under the paths of a table, with torch's words."""

    def place(parameter: Parameter, architecture: Architecture) -> Place:
        word, axes = CANONICAL_WORDS[parameter.role]
        return Place((f"{parameter.path(layers)}.{word}",), gate_axes if parameter.role is Role.GATE else axes)

    return place


def batch_counter(parameter: Parameter, place: Place) -> str | None:
    """torch counts the batches that its running statistics have seen; nothing reads it while momentum is fixed."""
    path = place.names[0].rpartition(".")[0]
    return f"{path}.num_batches_tracked" if parameter.role is Role.GAMMA else None


def own_hidden_config(told: Architecture) -> Config:
    """Our own files carry their facts in their metadata; without it a network is what its name says."""
    known = named_like(told)
    if not known or not told.max_pool:
        return {}
    return {
        "stem": {"pool": known.stem.pool},
        "shortcut": {"averages": known.shortcut.averages},
        "dropout": known.dropout,
    }


def _torchvision(architecture: Architecture) -> Preprocessing | None:
    return IMAGENET if not architecture.se and architecture.max_pool and architecture.num_classes == 1000 else None


TORCH = Dialect(
    "torch",
    "se_torch and torchvision: canonical names, OIHW",
    "torch",
    placed(CANONICAL_LAYERS),
    own_hidden_config,
    {},
    batch_counter,
    _torchvision,
    carries_config=True,
)
