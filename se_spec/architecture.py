"""Architecture: the configuration of one network, and what the networks of every family share."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, ClassVar, Self

from se_spec.errors import (
    ArchitectureError,
    expect,
    expect_count,
    expect_count_or_zero,
    expect_kind,
    expect_one_of,
    refuse_unknown,
)
from se_spec.graph import Graph
from se_spec.layers import BATCH_NORM_EPSILON

FIRST_FAMILY = "se_resnet"
"""The family of a dictionary that names none: such are all files that were written before there was another one."""


@dataclass(frozen=True)
class StageOutput:
    """The features that a stage gives.

    Attributes:
        channels: their number of channels.
        stride: how many pixels of the image lie between two of their positions.
    """

    channels: int
    stride: int


@dataclass(frozen=True, kw_only=True)
class Architecture(ABC):
    """The configuration of one network. Everything else about the network follows from it.

    A family of networks is a subclass, whose own fields are the config of its networks.

    Attributes:
        family: name of the family, as in the metadata of files.
        name: name of the network, for people; nothing is computed from it.
        num_classes: number of classes; 0 for a network that returns its pooled features.
        in_channels: channels of the images.
        bn_epsilon: added to the variance before its square root is taken.
        folded: whether the batch norms are folded into the kernels and biases of the convolutions before them, where
            there is one; for inference only.

    Raises:
        ArchitectureError: for a value that no network can have, in a sentence that names the field.
    """

    family: ClassVar[str]
    families: ClassVar[dict[str, type["Architecture"]]] = {}

    name: str
    num_classes: int = 1000
    in_channels: int = 3
    bn_epsilon: float = BATCH_NORM_EPSILON
    folded: bool = False

    def __init_subclass__(cls) -> None:
        cls.families[cls.family] = cls

    def __post_init__(self) -> None:
        expect_kind(str, name=self.name)
        expect_kind(bool, folded=self.folded)
        expect_kind(float, bn_epsilon=self.bn_epsilon)
        expect(0 < self.bn_epsilon < 1, "bn_epsilon", "between 0 and 1", self.bn_epsilon)
        expect_count(in_channels=self.in_channels)
        expect_count_or_zero(num_classes=self.num_classes)

    def __getstate__(self) -> dict[str, Any]:
        """The fields without the graph, which a pickle does not need."""
        return {own.name: getattr(self, own.name) for own in fields(self)}

    @property
    def config(self) -> dict[str, Any]:
        """The fields by name, without those that every family has."""
        shared = {own.name for own in fields(Architecture)}
        return {name: value for name, value in _with_lists(asdict(self)).items() if name not in shared}

    def to_dict(self) -> dict[str, Any]:
        """The family and every field by name, as JSON can represent it; `from_dict` is the inverse."""
        family = {} if self.family == FIRST_FAMILY else {"family": self.family}
        shared = {own.name: getattr(self, own.name) for own in fields(Architecture)}
        return {**family, "name": self.name, **self.config, **shared}

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> "Architecture":
        """The architecture that `to_dict` gave, whatever its family.

        Args:
            config: fields by name; those left out take their defaults. The family is `se_resnet` by default.

        Raises:
            ArchitectureError: for an unknown family or field, a missing one without a default, or an impossible value.
        """
        known = {name: as_tuple(value) for name, value in config.items()}
        name = known.pop("family", FIRST_FAMILY)
        expect_one_of(cls.families, family=name)
        family = cls.families[name]
        refuse_unknown(known, family.settings())
        required = [own.name for own in fields(family) if own.default is MISSING and own.default_factory is MISSING]
        if missing := [name for name in required if name not in known]:
            raise ArchitectureError(f"an architecture needs the fields {', '.join(missing)}")
        return family(**family.resolved(known))

    def replace(self, **config: Any) -> Self:
        """This architecture with some fields changed.

        Args:
            **config: new values by the names of `settings`, as `resolved` takes them.

        Raises:
            ArchitectureError: for an unknown field or an impossible value.
        """
        refuse_unknown(config, self.settings())
        return replace(self, **self.resolved(config, self))

    def setting(self, name: str) -> object:
        """The value of a setting by its dotted name, such as "stem.pool"."""
        value: object = self
        for part in name.split("."):
            value = getattr(value, part)
        return value

    def with_setting(self, name: str, value: object) -> Self:
        """This architecture with another value of a setting.

        Args:
            name: its dotted name, such as "stem.pool".
            value: the value.

        Raises:
            ArchitectureError: for an unknown setting or an impossible value.
        """
        return self.with_settings({name: value})

    def with_settings(self, settings: Mapping[str, object]) -> Self:
        """This architecture with other values of several settings at once, as `with_setting` takes them.

        Args:
            settings: the values by dotted name.
        """
        config: dict[str, Any] = {}
        for name, value in settings.items():
            group, _, field = name.partition(".")
            config[group] = {**config.get(group, {}), field: value} if field else value
        return self.replace(**config)

    @classmethod
    def settings(cls) -> list[str]:
        """The names of the fields, and of what else `replace` accepts."""
        return [own.name for own in fields(cls)]

    @classmethod
    def resolved(cls, config: Mapping[str, Any], network: Self | None = None) -> Mapping[str, Any]:
        """The values of fields, from settings that may be written in a shorter way.

        Args:
            config: settings by name.
            network: the architecture to change; by default one with every field's default.
        """
        return config

    def settings_from(self, named: Self) -> dict[str, Any]:
        """The settings with which `named.replace` gives this architecture, but for its name.

        Args:
            named: an architecture of the same family.
        """
        return {name: as_tuple(value) for name, (value, _) in config_differences(self, named).items()}

    def initial_options(self, zero_init_residual: bool) -> dict[str, bool]:
        """The arguments of the models' class that say how their weights start.

        Args:
            zero_init_residual: whether the residual branches start at zero.

        Raises:
            ArchitectureError: for a network that has none.
        """
        expect(not zero_init_residual, "zero_init_residual", "False: the network has no residual branches", True)
        return {}

    @cached_property
    def graph(self) -> Graph:
        """The operations of the network, from which its parameters, its cost and its reference are derived."""
        return self.make_graph()

    @abstractmethod
    def make_graph(self) -> Graph:
        """The operations of the network, newly made."""

    def without_dropout(self) -> Self:
        """The architecture without what is dropped in training."""
        return self

    def with_folded_norms(self) -> Self:
        """The architecture whose norms are folded into the convolutions before them, as far as there are any."""
        return self.replace(folded=True)

    @abstractmethod
    def function_key(self) -> tuple[object, ...]:
        """A key of the function that is computed, without the name and what is dropped in training."""

    @property
    @abstractmethod
    def has_se(self) -> bool:
        """Whether the network has SE layers."""

    @property
    def remark(self) -> str:
        """What a user should know of a network that is read from a file; empty for most."""
        return ""

    @property
    @abstractmethod
    def depth(self) -> int:
        """The number of residual blocks or dense layers; each of them has tensors of its own."""

    @property
    @abstractmethod
    def features(self) -> int:
        """Channels of the pooled features that the classifier takes."""

    @property
    @abstractmethod
    def sizes(self) -> tuple[object, ...]:
        """What networks of one name in different code bases share: depths, widths, and what their names tell."""

    @property
    @abstractmethod
    def stage_outputs(self) -> dict[str, StageOutput]:
        """The channels and the stride of the features that the stem and each stage give, by the models' attributes."""

    @property
    @abstractmethod
    def smallest_side(self) -> int:
        """The smallest height or width of an image in pixels."""

    @property
    @abstractmethod
    def image_size(self) -> int:
        """Height and width in pixels of the images that the papers use with this network; any size can be run."""


def config_differences(one: Architecture, other: Architecture) -> dict[str, tuple[object, object]]:
    """The fields in which two architectures differ, but for their names.

    Args:
        one: an architecture.
        other: the architecture to compare it with, of the same family.

    Returns:
        The two values of each such field, by its dotted name, such as `stem.pool`.
    """
    mine, theirs = _flat(one.to_dict()), _flat(other.to_dict())
    names = [name for name in mine if name != "name" and mine[name] != theirs.get(name)]
    return {name: (mine[name], theirs.get(name)) for name in names}


def as_tuple(value: Any) -> Any:
    """A list from JSON, which has no tuples, as a tuple; any other value unchanged."""
    return tuple(value) if isinstance(value, list) else value


def _with_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_lists(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in config.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
