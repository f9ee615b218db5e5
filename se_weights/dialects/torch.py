"""The canonical names, as in the state dicts of `se_torch` and torchvision, and what the torch dialects share."""

from collections.abc import Callable

from se_spec import Architecture, Parameter, Role, SEDenseNetArchitecture, SEResNetArchitecture, named_like
from se_spec.manifest import CANONICAL_WORDS
from se_weights.dialects.dialect import Config, Dialect, Layers, NameTable, Place
from se_weights.preprocessing import IMAGENET, Preprocessing


def make_place(layers: Layers, gate_axes: str = "OI") -> Callable[[Parameter, Architecture], Place]:
    """Returns the `place` function of a torch dialect with these layer paths.

    Args:
        layers: The path of each layer that the code base has.
        gate_axes: The axes of the SE weights: "OI" for fully connected layers, "OI11" for 1x1 convolutions.
    """

    def place(parameter: Parameter, architecture: Architecture) -> Place:
        leaf, axes = CANONICAL_WORDS[parameter.role]
        return Place((f"{parameter.path(layers)}.{leaf}",), gate_axes if parameter.role is Role.GATE else axes)

    return place


def batch_counter(parameter: Parameter, place: Place) -> tuple[str, ...]:
    """The tensor in which PyTorch counts training batches; it is not used while the momentum is constant.

    Args:
        parameter: The parameter; the counter is next to the gamma of a batch norm.
        place: Where the parameter is stored.

    Returns:
        The name of the counter; none for any other parameter.
    """
    path = place.names[0].rpartition(".")[0]
    return (f"{path}.num_batches_tracked",) if parameter.role is Role.GAMMA else ()


def canonical_place(parameter: Parameter, architecture: Architecture) -> Place:
    return Place((parameter.name,), parameter.axes)


def published_hidden_config(inferred: SEResNetArchitecture) -> Config:
    """For our own files without metadata: the hidden config of the published architecture with these shapes."""
    named = named_like(inferred)
    if not isinstance(named, SEResNetArchitecture) or not inferred.stem.pools:
        return {}
    return {
        "stem": {"pool": named.stem.pool},
        "shortcut": {"averages": named.shortcut.averages},
        "dropout": named.dropout,
    }


def no_hidden_config(inferred: Architecture) -> Config:
    """For our own files without metadata: every setting that tensors cannot show has its default value."""
    return {}


def densenet_preprocessing(architecture: SEDenseNetArchitecture) -> Preprocessing | None:
    """Of torchvision's DenseNets, which have 1000 classes and no SE layers."""
    imagenet = architecture.max_pool and architecture.num_classes == 1000
    return IMAGENET if not architecture.has_se and imagenet else None


def _torchvision_preprocessing(architecture: SEResNetArchitecture) -> Preprocessing | None:
    return IMAGENET if not architecture.se and architecture.stem.pools and architecture.num_classes == 1000 else None


TORCH = Dialect(
    "torch",
    "se_torch and torchvision: canonical names, OIHW",
    "torch",
    {
        "se_resnet": NameTable(canonical_place, published_hidden_config, preprocessing=_torchvision_preprocessing),
        "se_densenet": NameTable(canonical_place, no_hidden_config, preprocessing=densenet_preprocessing),
    },
    batch_counter,
    carries_config=True,
)
