"""The named architectures: a table, and the two functions that read it."""

from typing import Any

from se_spec.architecture import Architecture, config_differences
from se_spec.config import SHORTHANDS, Shortcut, Stem, as_tuple, group_word
from se_spec.errors import ArchitectureError, suggestion

_DEPTHS = {  # paper, table 1; Deep Residual Learning, table 1
    "18": ("basic", (2, 2, 2, 2)),
    "34": ("basic", (3, 4, 6, 3)),
    "26": ("bottleneck", (2, 2, 2, 2)),
    "50": ("bottleneck", (3, 4, 6, 3)),
    "101": ("bottleneck", (3, 4, 23, 3)),
    "152": ("bottleneck", (3, 8, 36, 3)),
}
_GROUPED = ("26_32x4d", "50_32x4d", "101_32x4d", "101_32x8d", "101_64x4d")  # groups x channels a group, at width 64
_DEEP = {  # widths before the stem's last: Bag of Tricks, section 4.2, and timm's tiered stem
    "d": Stem(kernel=3, inner=(32, 32)),
    "t": Stem(kernel=3, inner=(24, 32)),
}
_CIFAR = {  # Deep Residual Learning, section 4.2: 6n + 2 layers (9n + 2 with bottlenecks), n blocks a stage
    "20": ("basic", 3),
    "32": ("basic", 5),
    "56": ("basic", 9),
    "110": ("basic", 18),
    "164bn": ("bottleneck", 18),
    "272bn": ("bottleneck", 30),
}
_SENET154 = Architecture(  # paper, section 6.1 and appendix; dropout from its Caffe definition
    "senet154",
    "bottleneck",
    (3, 8, 36, 3),
    stem=Stem(kernel=3, inner=(64, 64), width=128),
    shortcut=Shortcut(kernel=3),
    groups=64,
    base_width=4,
    reduce_first=2,
    dropout=0.2,
)


def _resnet(depth: str, se: bool, **config: Any) -> Architecture:
    block, depths = _DEPTHS[depth]
    return Architecture(f"{'se_' * se}resnet{depth}", block, depths, se=se).replace(**config)


def _resnext(version: str, se: bool, **config: Any) -> Architecture:
    depth, _, cardinality = version.partition("_")
    groups, _, base_width = cardinality.removesuffix("d").partition("x")
    named = {"name": f"{'se_' * se}resnext{version}", "groups": int(groups), "base_width": int(base_width)}
    return _resnet(depth, se, **{**named, **config})


def _averaging(letter: str) -> dict[str, Any]:
    return {"stem": _DEEP[letter], "shortcut": Shortcut(averages=True)}


def _all() -> list[Architecture]:
    classic = [depth for depth in _DEPTHS if depth != "26"]
    return [
        *(_resnet(depth, se) for se in (True, False) for depth in classic),
        *(_resnext(version, se) for se in (True, False) for version in _GROUPED),
        *(_resnet(depth, False, name=f"wide_resnet{depth}_2", base_width=128) for depth in ("50", "101")),
        _SENET154,
        *(
            _resnet(depth, se, name=f"{'se_' * se}resnet{depth}d", **_averaging("d"))
            for se in (True, False)
            for depth in _DEPTHS
        ),
        *(_resnext("26_32x4d", True, name=f"se_resnext26{letter}", **_averaging(letter)) for letter in _DEEP),
        _resnext("101_32x8d", True, name="se_resnext101d_32x8d", **_averaging("d")),
        *(
            Architecture(f"se_resnet{depth}_cifar", block, (n, n, n), (16, 32, 64), num_classes=10).replace(stem="3x3")
            for depth, (block, n) in _CIFAR.items()
        ),
    ]


_NAMED = {known.name: known for known in _all()}


def list_architectures() -> list[str]:
    """The names that `architecture` accepts."""
    return list(_NAMED)


def named_like(network: Architecture) -> Architecture | None:
    """The named architecture with blocks and a stem of the same depths and widths, or None.

    Args:
        network: the architecture to name; its settings that change no depth or width are not compared.
    """
    return next((known for known in _NAMED.values() if _sizes(known) == _sizes(network)), None)


def _sizes(network: Architecture) -> tuple[object, ...]:
    stem = network.stem.inner, network.stem.width or network.widths[0]
    groups = network.groups, network.base_width, network.reduce_first
    return network.block, network.depths, network.widths, network.se, stem, groups, network.shortcut.kernel


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
    names = [network.name, *_NAMED] if network.name in _NAMED else list(_NAMED)
    settings = {name: config_differences(network, _NAMED[name]) for name in names}
    name = min(settings, key=lambda each: len(settings[each]))
    shorthands = {".".join(place): word for word, place in SHORTHANDS.items()}
    arguments: dict[str, Any] = {}
    for setting, (value, _) in settings[name].items():
        group, _, field = shorthands.get(setting, setting).partition(".")
        if field:
            arguments.setdefault(group, {})[field] = as_tuple(value)
        else:
            arguments[group] = as_tuple(value)
    for group, value in arguments.items():
        if isinstance(value, dict):
            arguments[group] = group_word(group, getattr(_NAMED[name], group), getattr(network, group)) or value
    texts = [_quoted(name), *(f"{key}={_quoted(value)}" for key, value in arguments.items())]
    return f"create_model({', '.join(texts)})"


def _quoted(value: object) -> str:
    return repr(value).replace("'", '"')
