"""The named architectures of all families, by name."""

from typing import Any

from se_spec.architecture import Architecture, config_differences
from se_spec.errors import ArchitectureError, suggestion
from se_spec.families.se_densenet.named import se_densenets
from se_spec.families.se_resnet.named import se_resnets

_NAMED: dict[str, Architecture] = {known.name: known for known in (*se_resnets(), *se_densenets())}
_BY_SIZES = {(known.family, known.sizes): known for known in reversed(_NAMED.values())}
"""Of networks with the same sizes, the first one."""


def list_architectures() -> list[str]:
    """The names that `architecture` accepts."""
    return list(_NAMED)


def named_like(network: Architecture) -> Architecture | None:
    """The first named architecture with the same `sizes`, or None.

    Args:
        network: the architecture to name; its other settings are not compared.
    """
    return _BY_SIZES.get((network.family, network.sizes))


def architecture(name: str, **config: Any) -> Architecture:
    """The named architecture, with some of its fields changed.

    `architecture("se_resnet34", stem="3x3", num_classes=10)` is the CIFAR-style SE-ResNet of the tutorials.

    Args:
        name: one of `list_architectures()`.
        **config: fields of Architecture that replace the named network's own, such as `num_classes`; see
            `Architecture.replace`.

    Raises:
        ArchitectureError: for an unknown name, an unknown field or an impossible value, naming it.
    """
    if name not in _NAMED:
        raise ArchitectureError(f"there is no architecture {name!r}{suggestion(str(name), list(_NAMED))}")
    return _NAMED[name].replace(**config)


def create_model_call(network: Architecture) -> str:
    """The call that creates the network of an architecture in any of the packages.

    Args:
        network: the architecture.

    Returns:
        Code such as `create_model("se_resnet18", num_classes=10, se_bias=True)`, with the named architecture that needs
        the fewest settings; of several, the one of the network's own name.
    """
    if network == _NAMED.get(network.name):
        return f"create_model({_quoted(network.name)})"
    names = [network.name, *_NAMED] if network.name in _NAMED else list(_NAMED)
    family = [_NAMED[name] for name in names if _NAMED[name].family == network.family]
    named = min(family, key=lambda each: len(config_differences(network, each)))
    settings = network.settings_from(named)
    texts = [_quoted(named.name), *(f"{key}={_quoted(value)}" for key, value in settings.items())]
    return f"create_model({', '.join(texts)})"


def _quoted(value: object) -> str:
    return repr(value).replace("'", '"')
