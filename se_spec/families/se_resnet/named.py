"""The named SE-ResNets."""

from collections.abc import Iterator
from typing import Any

from se_spec.families.se_resnet.architecture import SEResNetArchitecture
from se_spec.families.se_resnet.config import Shortcut, Stem

_DEPTHS = {  # paper, table 1; Deep Residual Learning, table 1
    "18": ("basic", (2, 2, 2, 2)),
    "34": ("basic", (3, 4, 6, 3)),
    "26": ("bottleneck", (2, 2, 2, 2)),
    "50": ("bottleneck", (3, 4, 6, 3)),
    "101": ("bottleneck", (3, 4, 23, 3)),
    "152": ("bottleneck", (3, 8, 36, 3)),
}
_DEEPER = {  # timm 1.0.31, models/resnet.py; those of ResNet-RS from its paper (arXiv 2103.07579), table 8
    "light": (1, 1, 11, 3),
    "200": (3, 24, 36, 3),
    "269": (3, 30, 48, 8),
    "270": (4, 29, 53, 4),
    "350": (4, 36, 72, 4),
    "420": (4, 44, 87, 4),
}
_GROUPED = ("26_32x4d", "50_32x4d", "101_32x4d", "101_32x8d", "101_64x4d")  # groups x channels a group, at width 64
_DEEP = {  # widths before the stem's last: Bag of Tricks, section 4.2, and timm's tiered stem
    "d": Stem(kernel=3, inner=(32, 32)),
    "t": Stem(kernel=3, inner=(24, 32)),
}
_ECA = ("26t", "50t", "50d", "101d", "200d", "269d")  # timm 1.0.31, models/resnet.py
_RS = ("50", "101", "152", "200", "270", "350", "420")
_ANTIALIASED = {  # timm 1.0.31, models/resnet.py: the letters of the pool, and the networks that have it
    "mean": ("aa", ("34d", "50", "50d", "101d")),
    "blur": ("blur", ("18", "50", "50d", "101d")),
}
_CIFAR = {  # Deep Residual Learning, section 4.2: 6n + 2 layers (9n + 2 with bottlenecks), n blocks a stage
    "20": ("basic", 3),
    "32": ("basic", 5),
    "56": ("basic", 9),
    "110": ("basic", 18),
    "164bn": ("bottleneck", 18),
    "272bn": ("bottleneck", 30),
}
_SENET154 = SEResNetArchitecture(  # paper, section 6.1 and appendix; dropout from its Caffe definition
    name="senet154",
    block="bottleneck",
    depths=(3, 8, 36, 3),
    stem=Stem(kernel=3, inner=(64, 64), width=128),
    shortcut=Shortcut(kernel=3),
    groups=64,
    base_width=4,
    reduce_first=2,
    dropout=0.2,
)


def _network(**config: Any) -> SEResNetArchitecture:
    return SEResNetArchitecture(**SEResNetArchitecture.resolved(config))


def _resnet(depth: str, se: bool, **config: Any) -> SEResNetArchitecture:
    block, depths = _DEPTHS[depth] if depth in _DEPTHS else ("bottleneck", _DEEPER[depth])
    named = {"name": f"{'se_' * se}resnet{depth}", "block": block, "depths": depths, "se": se}
    return _network(**{**named, **config})


def _resnext(version: str, se: bool, **config: Any) -> SEResNetArchitecture:
    depth, _, cardinality = version.partition("_")
    groups, _, base_width = cardinality.removesuffix("d").partition("x")
    named = {"name": f"{'se_' * se}resnext{version}", "groups": int(groups), "base_width": int(base_width)}
    return _resnet(depth, se, **{**named, **config})


def _averaging(letter: str) -> dict[str, Any]:
    return {"stem": _DEEP[letter], "shortcut": Shortcut(averages=True)}


def _preactivated(version: str, se: bool) -> SEResNetArchitecture:
    name = f"{'se_' * se}preresnet{version}"
    return _resnet(version, se, name=name, order="pre", final_norm=True, shortcut={"norm": False})


def _eca(version: str) -> SEResNetArchitecture:
    depth, letter = version[:-1], version[-1]
    return _resnet(depth, True, name=f"ecaresnet{version}", squeeze="eca", **_averaging(letter))


def _rs(depth: str) -> SEResNetArchitecture:
    stem = {"kernel": 3, "inner": (32, 32), "pool": "convolution"}
    config = {"stem": stem, "shortcut": {"averages": True}, "reduction": 4, "se_bias": True}
    return _resnet(depth, True, name=f"se_resnetrs{depth}", **config)


def _antialiased(pool: str) -> Iterator[SEResNetArchitecture]:
    letters, versions = _ANTIALIASED[pool]
    for version in versions:
        averaging = _averaging("d") if version.endswith("d") else {}
        name = f"resnet{letters}{version}"
        yield _resnet(version.removesuffix("d"), False, name=name, antialias=pool, **averaging)


def _cifar(version: str, block: str, depth: int, **config: Any) -> SEResNetArchitecture:
    depths, widths, name = (depth,) * 3, (16, 32, 64), f"se_{version}_cifar"
    return _network(name=name, block=block, depths=depths, widths=widths, stem="3x3", num_classes=10, **config)


def se_resnets() -> list[SEResNetArchitecture]:
    """The named networks, in the order in which they are listed."""
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
        *(network for pool in _ANTIALIASED for network in _antialiased(pool)),
        _resnet("50", True, name="se_resnetaa50d", antialias="mean", **_averaging("d")),
        _resnext("101_32x8d", True, name="se_resnextaa101d_32x8d", antialias="mean", **_averaging("d")),
        _resnext(
            "101_32x8d",
            True,
            name="se_resnextaa201d_32x8d",
            depths=(3, 24, 36, 4),
            antialias="mean",
            stem=Stem(kernel=3, inner=(64, 64), width=128),
            shortcut=Shortcut(averages=True),
        ),
        *map(_eca, _ECA),
        _resnet("light", True, name="ecaresnetlight", squeeze="eca", shortcut={"averages": True}),
        *(
            _resnext(f"{depth}_32x4d", True, name=f"ecaresnext{depth}t_32x4d", squeeze="eca", **_averaging("t"))
            for depth in ("26", "50")
        ),
        *map(_rs, _RS),
        *(_preactivated(version, se) for se in (True, False) for version in classic),
        *(_cifar(f"resnet{version}", *block) for version, block in _CIFAR.items()),
        *(
            _cifar(f"preresnet{version}", *block, order="pre", shortcut={"norm": False})
            for version, block in _CIFAR.items()
        ),
    ]
