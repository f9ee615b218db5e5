"""Dialects: how a code base names and lays out the parameters of the manifest, and its hidden config.

A dialect generates names from our parameters and never parses names. Missing and unexpected tensors are then two set
differences.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from se_spec import (
    Architecture,
    ArchitectureError,
    Layer,
    Parameter,
    Role,
    SEResNetArchitecture,
    config_differences,
    manifest,
)
from se_weights.layouts import relayout_shape
from se_weights.preprocessing import Preprocessing

Layers = Mapping[Layer, str | tuple[str, ...]]
"""The path of each layer in a dialect; one path for each number if they do not follow a pattern."""

LeafNames = Mapping[Role, tuple[str, str]]
"""The last part of the name, and the axes, of each role in a dialect."""

Config = Mapping[str, Any]
"""Settings of an architecture, as `Architecture.replace` takes them."""


class Loadable(Protocol):
    """A tensor of a file, whose values are read by `load`."""

    def load(self) -> NDArray: ...


@dataclass(frozen=True)
class Place:
    """Where a dialect stores one parameter.

    Attributes:
        names: The name of the tensor; or several names, for a grouped convolution that is stored as one tensor for each
            group, split along O.
        axes: The axes of the tensor, such as "HWIO" (see `se_weights.relayout`).
    """

    names: tuple[str, ...]
    axes: str

    def join(self, tensors: Mapping[str, Loadable]) -> NDArray:
        """Load the parameter from the tensors of a file, on the axes of the place."""
        if len(self.names) == 1:
            return tensors[self.names[0]].load()
        return np.concatenate([tensors[name].load() for name in self.names], axis=self.axes.index("O"))

    def part(self, array: NDArray, index: int) -> NDArray:
        """The part of the parameter's array, on the axes of the place, that is stored as `names[index]`.

        Args:
            array: The whole parameter, on the axes of the place.
            index: The index of the name in `names`.

        Returns:
            The array itself where the place has one name, else one equal part of it along O.
        """
        return array if len(self.names) == 1 else np.split(array, len(self.names), axis=self.axes.index("O"))[index]


@dataclass(frozen=True)
class NameTable:
    """The names, axes and hidden config that a code base has for the networks of one family.

    Attributes:
        place: Returns the names and axes of a parameter of an architecture.
        hidden_config: Returns the settings that tensor names and shapes cannot show, as the code base has them for an
            architecture, or None if it has no such network.
        fixed_config: Settings that shapes show and that are the same in every network of the code base, or a function
            that returns those of the networks that are like an architecture.
        preprocessing: Returns the preprocessing that the code base trained an architecture with, or None.
        model_name: Returns the name of an architecture in the code base.
        names_depend_on: The settings on which names of layers depend, or whether the code base has such a network,
            besides the order, the block and the stem of an SE-ResNet: some of "shortcut", "se" and "num_classes".
    """

    place: Callable[[Parameter, Any], Place]
    hidden_config: Callable[[Any], Config | None]
    fixed_config: Config | Callable[[Any], Config] = field(default_factory=dict)
    preprocessing: Callable[[Any], Preprocessing | None] = lambda architecture: None
    model_name: Callable[[Any], str] = lambda architecture: architecture.name
    names_depend_on: tuple[str, ...] = ()

    def fixed_config_of(self, architecture: Architecture) -> Config:
        """The settings that shapes show and that networks like an architecture never have otherwise."""
        return self.fixed_config(architecture) if callable(self.fixed_config) else self.fixed_config


@dataclass(frozen=True, eq=False)
class Dialect:
    """The names, axes and hidden config of one code base; each dialect is one object, and equal only to itself.

    Attributes:
        name: The name for `dialect=` and `--dialect`.
        summary: A description in one line.
        framework: The framework whose files the dialect occurs in: "torch", "keras", "keras2" or "flax".
        tables: A table for each family of which the code base has networks, by the family's name.
        companions: Returns the names of tensors that may be stored next to a parameter and are not weights.
        carries_config: Whether the dialect can hold every architecture, because it is one of our own and the metadata
            of its files contain the architecture.
        options_without_tensors: Options of the code base's networks that change the function and no tensor; may be
            empty.
        ends_in_softmax: Whether the networks of the code base return probabilities; ours return the logits.
    """

    name: str
    summary: str
    framework: str
    tables: Mapping[str, NameTable]
    companions: Callable[[Parameter, Place], tuple[str, ...]] = lambda parameter, place: ()
    carries_config: bool = False
    options_without_tensors: str = ""
    ends_in_softmax: bool = False

    def place(self, parameter: Parameter, architecture: Architecture) -> Place:
        """The names and axes of a parameter of an architecture."""
        return self.tables[architecture.family].place(parameter, architecture)

    def preprocessing(self, architecture: Architecture) -> Preprocessing | None:
        """The preprocessing that the code base trained an architecture with, or None."""
        return self.tables[architecture.family].preprocessing(architecture)

    def model_name(self, architecture: Architecture) -> str:
        """The name of an architecture in the code base."""
        return self.tables[architecture.family].model_name(architecture)

    def is_only_ours(self, architecture: Architecture) -> bool:
        """Whether no other code base gives a network's tensors these names: torchvision's are also canonical ones."""
        return self.carries_config and (architecture.has_se or self.framework != "torch")

    def completed(self, inferred: Architecture) -> Architecture | None:
        """Add the hidden config to an architecture that was inferred from names and shapes.

        Returns:
            The complete architecture, or None if the code base has no such network.
        """
        config = self._hidden_config(inferred)
        return None if config is None else inferred.replace(**config)

    def has(self, inferred: Architecture) -> bool:
        """Whether the code base has a network that was inferred from names and shapes."""
        return self._hidden_config(inferred) is not None

    def _hidden_config(self, inferred: Architecture) -> Mapping[str, Any] | None:
        table = self.tables.get(inferred.family)
        return table.hidden_config(inferred) if table and (self.carries_config or not inferred.folded) else None

    def why_unsupported(self, architecture: Architecture) -> str | None:
        """The reason why no network of the code base computes the function of an architecture, or None if one does."""
        if self.carries_config:
            return None
        if architecture.folded:
            return f"its norms are folded into its convolutions, and {self.name} has no network without norms"
        completed = self.completed(architecture)
        if not completed:
            return f"{self.name} has no such network"
        try:
            supported = completed.replace(**self.tables[architecture.family].fixed_config_of(architecture))
        except ArchitectureError as error:
            return f"{self.name} has no such network: {error}"
        if supported.function_key() == architecture.function_key():
            return None
        return "; ".join(
            f"{setting} is {value}, and {supported_value} in {self.name}"
            for setting, (value, supported_value) in config_differences(architecture, supported).items()
            if _changes_function(architecture, setting, supported_value)
        )

    def places(self, architecture: Architecture) -> dict[Parameter, Place]:
        """The place of every parameter of an architecture, in the order of the manifest."""
        return {parameter: self.place(parameter, architecture) for parameter in manifest(architecture)}

    def shapes(self, architecture: Architecture) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor of an architecture by its name in this dialect."""
        return _stored_shapes(self.places(architecture))

    def may_fit(self, architecture: Architecture, shapes: Mapping[str, tuple[int, ...]]) -> bool:
        """Whether tensors contain every parameter of an architecture; stops at the first one that they do not contain.

        Args:
            architecture: The architecture.
            shapes: The shapes of the tensors by their name in the file.
        """
        return all(
            shapes.get(name) == shape
            for parameter in manifest(architecture)
            for name, shape in _stored_shapes({parameter: self.place(parameter, architecture)}).items()
        )

    def differences(self, architecture: Architecture, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
        """Compare tensors with an architecture in this dialect.

        Args:
            architecture: The expected architecture.
            shapes: The shapes of the tensors by their name in the file.

        Returns:
            A line for each difference: `- name` missing, `+ name` unexpected, `! name` of the wrong shape.
        """
        places = self.places(architecture)
        expected = _stored_shapes(places)
        companions = {name for parameter, place in places.items() for name in self.companions(parameter, place)}
        missing = [f"- {name} {shape}" for name, shape in expected.items() if name not in shapes]
        unexpected = [
            f"+ {name} {shape}" for name, shape in shapes.items() if name not in expected and name not in companions
        ]
        wrong = [
            f"! {name} expected {shape}, found {shapes[name]}"
            for name, shape in expected.items()
            if name in shapes and shapes[name] != shape
        ]
        return missing + unexpected + wrong


def _changes_function(architecture: Architecture, setting: str, value: object) -> bool:
    """Whether the architecture computes another function with this value of a setting, such as "squeeze.bias"."""
    try:
        changed = architecture.with_setting(setting, value)
    except ArchitectureError:
        return True
    return changed.function_key() != architecture.function_key()


def _stored_shapes(places: Mapping[Parameter, Place]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for parameter, place in places.items():
        shape = relayout_shape(parameter.shape, parameter.axes, place.axes)
        if (parts := len(place.names)) > 1:
            shape = tuple(size // parts if axis == "O" else size for axis, size in zip(place.axes, shape, strict=True))
        shapes |= dict.fromkeys(place.names, shape)
    return shapes


def make_hidden_config(
    architecture: SEResNetArchitecture,
    *,
    variants: Iterable[str] = (),
    pool: str = "pad1",
    antialias: str = "none",
    stride_in: str = "conv2",
    averages: bool = False,
    after_relu: bool = False,
    epsilon: float = 1e-5,
    dropout: float = 0.0,
    dilates_first: bool = False,
) -> Config | None:
    """The settings that tensor names and shapes of an SE-ResNet cannot show, where the architecture has them.

    Args:
        architecture: Without a max pool it has no `pool`, and only bottlenecks have a choice of `stride_in`.
        variants: The `variants` of networks that the code base has.
        pool: The alignment of the max pool in the stem: "pad1" pads by one pixel on each side, "ceil" rounds up.
        antialias: The pool that strides in the place of a block's 3x3 and of the max pool.
        stride_in: The convolution of a bottleneck that strides: "conv1" or "conv2".
        averages: Whether shortcuts that stride average 2x2 windows before their convolution (ResNet-D).
        after_relu: Whether there is a ReLU between the last norm of a block and the squeeze.
        epsilon: The epsilon of the batch norms.
        dropout: The dropout rate before the classifier.
        dilates_first: Whether the first block of a dilated stage has the dilation of its stage.

    Returns:
        The settings, or None for a variant that the code base does not have.
    """
    if architecture.variants - set(variants):
        return None
    return {
        "stem": {"pool": pool if architecture.stem.has_max_pool else architecture.stem.pool},
        "antialias": antialias,
        "shortcut": {"averages": averages},
        "squeeze": {"after_relu": after_relu},
        "stride_in": stride_in if architecture.block == "bottleneck" else "conv2",
        "bn_epsilon": epsilon,
        "dropout": dropout,
        "dilates_first": dilates_first and architecture.output_stride < 32,
    }


def make_densenet_config(
    *,
    new_first: bool = False,
    final_relu: bool = True,
    transition_pool: str = "floor",
    epsilon: float = 1e-5,
) -> Config:
    """The settings that tensor names and shapes of an SE-DenseNet cannot show.

    Args:
        new_first: Whether the new features of a layer come before the others.
        final_relu: Whether a ReLU follows the last norm.
        transition_pool: "floor" to leave out an odd last row or column, "ceil" to average what exists of it.
        epsilon: The epsilon of the batch norms.
    """
    return {
        "new_first": new_first,
        "final_relu": final_relu,
        "transition_pool": transition_pool,
        "bn_epsilon": epsilon,
        "drop_rate": 0.0,
    }
