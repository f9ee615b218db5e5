"""A dialect: how one code base names and lays out the parameters of the manifest.

A dialect makes its names forwards, from our own parameters; it never parses a foreign name. Two set
differences then tell what is missing and what is unexpected.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from se_spec import Architecture, Parameter, Role, manifest
from se_weights.layouts import relayout_shape

Words = Mapping[Role, tuple[str, str]]
"""A dialect's last word and axes for each role."""


@dataclass(frozen=True)
class Place:
    """Where a dialect keeps one parameter."""

    name: str
    axes: str


@dataclass(frozen=True)
class Dialect:
    """`place` names a parameter of an architecture; `companion` names a tensor beside it that carries no weight;
    `refuses` says why the code base could not load an architecture, where it could not."""

    name: str
    summary: str
    place: Callable[[Parameter, Architecture], Place]
    companion: Callable[[Parameter], str | None] = lambda parameter: None
    refuses: Callable[[Architecture], str | None] = lambda architecture: None

    def places(self, architecture: Architecture) -> dict[Parameter, Place]:
        """Where this dialect keeps every parameter of the architecture, in the manifest's order."""
        return {parameter: self.place(parameter, architecture) for parameter in manifest(architecture)}

    def differences(self, architecture: Architecture, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
        """The join: what keeps tensors of these names and shapes from being this architecture in this dialect."""
        places = self.places(architecture)
        expected = {
            place.name: relayout_shape(parameter.shape, parameter.axes, place.axes)
            for parameter, place in places.items()
        }
        companions = {self.companion(parameter) for parameter in places}
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
