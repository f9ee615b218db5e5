"""A dialect: how one code base names and lays out the parameters of the manifest, and what its tensors do not tell.

A dialect makes its names forwards, from our own parameters; it never parses a foreign name. Two set
differences then tell what is missing and what is unexpected.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from se_spec import Architecture, ArchitectureError, Layer, Parameter, Role, config_differences, manifest
from se_weights.layouts import relayout_shape
from se_weights.preprocessing import Preprocessing

Layers = Mapping[Layer, str | tuple[str, ...]]
"""A dialect's path of each layer; a path for each number where no pattern gives them."""

Words = Mapping[Role, tuple[str, str]]
"""A dialect's last word and axes for each role."""

Config = Mapping[str, Any]


class Loadable(Protocol):
    """What a file declares of a tensor, and loads when it is asked to."""

    def load(self) -> NDArray: ...


@dataclass(frozen=True)
class Place:
    """Where a dialect keeps one parameter: under one name, or in equal parts along O under several, one a group."""

    names: tuple[str, ...]
    axes: str

    def join(self, tensors: Mapping[str, Loadable]) -> NDArray:
        """The parameter's array among tensors by name."""
        if len(self.names) == 1:
            return tensors[self.names[0]].load()
        return np.concatenate([tensors[name].load() for name in self.names], axis=self.axes.index("O"))

    def part(self, array: NDArray, number: int) -> NDArray:
        """What is kept under the name of this number of an array on the axes of the place."""
        return array if len(self.names) == 1 else np.split(array, len(self.names), axis=self.axes.index("O"))[number]


@dataclass(frozen=True)
class Dialect:
    """`place` names a parameter of an architecture. `hidden` gives the facts that neither names nor shapes tell, as the
    code base has them for such a network, or None where it has no such network. `has` are the facts that shapes tell
    and that every network of the code base shares. `companion` names a tensor that stands beside a parameter and
    carries no weight. `family` is the framework whose files hold the dialect. A dialect of our own `carries_config`: it
    holds every architecture, in files whose metadata say which. `model_name` is what the code base calls a network."""

    name: str
    summary: str
    family: str
    place: Callable[[Parameter, Architecture], Place]
    hidden: Callable[[Architecture], Config | None]
    has: Config
    companion: Callable[[Parameter, Place], str | None] = lambda parameter, place: None
    preprocessing: Callable[[Architecture], Preprocessing | None] = lambda architecture: None
    carries_config: bool = False
    model_name: Callable[[Architecture], str] = lambda architecture: architecture.name

    def completed(self, told: Architecture) -> Architecture | None:
        """The architecture with the facts that its tensors do not tell, or None where the code base has none such."""
        hidden = self.hidden(told) if self.carries_config or not told.folded else None
        return None if hidden is None else told.replace(**hidden)

    def refuses(self, architecture: Architecture) -> str | None:
        """Why the code base could not run an architecture's weights as they are meant, where it could not."""
        if self.carries_config:
            return None
        if architecture.folded:
            return f"its norms are folded into its convolutions, and {self.name} has no network without norms"
        completed = self.completed(architecture)
        if not completed:
            return f"{self.name} has no such network"
        built = completed.replace(**self.has)
        if built.function_key() == architecture.function_key():
            return None
        differing = config_differences(architecture, built).items()
        return "; ".join(
            f"{fact} is {mine}, and {theirs} in {self.name}"
            for fact, (mine, theirs) in differing
            if _computes_otherwise(architecture, fact, theirs)
        )

    def places(self, architecture: Architecture) -> dict[Parameter, Place]:
        """Where this dialect keeps every parameter of the architecture, in the manifest's order."""
        return {parameter: self.place(parameter, architecture) for parameter in manifest(architecture)}

    def shapes(self, architecture: Architecture) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor of the architecture, by its name in this dialect."""
        return {
            name: shape
            for parameter, place in self.places(architecture).items()
            for name, shape in _part_shapes(parameter, place)
        }

    def differences(self, architecture: Architecture, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
        """The join: what keeps tensors of these names and shapes from being this architecture in this dialect."""
        places = self.places(architecture)
        expected = {
            name: shape for parameter, place in places.items() for name, shape in _part_shapes(parameter, place)
        }
        companions = {self.companion(parameter, place) for parameter, place in places.items()}
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


def _computes_otherwise(architecture: Architecture, fact: str, value: object) -> bool:
    group, _, name = fact.partition(".")
    try:
        changed = architecture.replace(**{group: {name: value} if name else value})
    except ArchitectureError:
        return True
    return changed.function_key() != architecture.function_key()


def _part_shapes(parameter: Parameter, place: Place) -> list[tuple[str, tuple[int, ...]]]:
    whole = relayout_shape(parameter.shape, parameter.axes, place.axes)
    share = len(place.names)
    shape = tuple(size // share if axis == "O" else size for axis, size in zip(place.axes, whole, strict=True))
    return [(name, shape if share > 1 else whole) for name in place.names]


def hidden_config(
    architecture: Architecture,
    *,
    pool: str = "pad1",
    stride_in: str = "conv2",
    averages: bool = False,
    after_relu: bool = False,
    epsilon: float = 1e-5,
    dropout: float = 0.0,
) -> Config:
    """The facts that tensors never tell, as far as this architecture can have them: without a pool there is no
    alignment, and basic blocks stride in one place."""
    return {
        "stem": {"pool": pool if architecture.max_pool else "none"},
        "shortcut": {"averages": averages},
        "squeeze": {"after_relu": after_relu},
        "stride_in": stride_in if architecture.block == "bottleneck" else "conv2",
        "bn_epsilon": epsilon,
        "dropout": dropout,
    }
