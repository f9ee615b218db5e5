"""Family: how the architecture of networks of one family is inferred from the names and shapes of their tensors."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from se_spec import Architecture, Parameter, Role
from se_spec.graph import LayerPaths, LayerPosition
from se_weights.dialects import Dialect
from se_weights.layouts import relayout_shape

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

UNNAMED = "unnamed"
"""The name of an inferred architecture that is not a published one."""


@dataclass(frozen=True)
class Family:
    """What is inferred from the tensors of a network, and what they do not show.

    Attributes:
        name: The name of the family, as in its Architecture.
        first_layers: A parameter of the stem of every network, and one of its first block.
        initial_architectures: Returns the smallest networks, one for each set of names that a dialect may give to their
            layers.
        infer: Yields the architectures that tensors may have in a dialect, from their shapes by name; the caller
            compares them with the manifest. All settings that the names may depend on are tried.
        inferred_settings: Returns the settings that tensors show even if the user names the architecture.
        with_published_name: Returns an inferred architecture with the name of the published one, if there is one.
        hidden_settings: The settings that change the function and no tensor, apart from the epsilon, with their values;
            a network with another value keeps it.
        training_settings: The settings that change what is trained, and neither a tensor nor the function.
    """

    name: str
    first_layers: tuple[Parameter, Parameter]
    initial_architectures: Callable[[Dialect], Iterable[Architecture]]
    infer: Callable[[Shapes, Dialect], Iterator[Architecture]]
    inferred_settings: Callable[[Any], Mapping[str, object]]
    with_published_name: Callable[[Any], Architecture]
    hidden_settings: Mapping[str, tuple[object, ...]]
    training_settings: tuple[str, ...]

    @property
    def hidden_names(self) -> str:
        """The names of the settings that no tensor shows, for a sentence."""
        names = [*self.hidden_settings, "bn_epsilon", *self.training_settings]
        return f"{', '.join(names[:-1])} and {names[-1]}"


def probe(role: Role, position: LayerPosition, layers: LayerPaths) -> Parameter:
    """A parameter whose shape is not known.

    Args:
        role: What it does in its layer.
        position: Which layer that is.
        layers: The canonical paths of the family's layers.
    """
    place = position.layer, position.stage, position.index, position.number
    return Parameter(*place, module=position.path(layers), role=role)


def stored_shape(shapes: Shapes, dialect: Dialect, parameter: Parameter, inferred: Architecture) -> Shape | None:
    """The shape of a parameter on canonical axes, or None if the file does not contain it in a dialect.

    Args:
        shapes: The shapes of the tensors by their name in the file.
        dialect: The dialect of these names.
        parameter: The parameter, whose own shape is not used.
        inferred: What is known of the architecture, on which the names may depend.
    """
    place = dialect.place(parameter, inferred)
    stored = shapes.get(place.names[0])
    if stored is None:
        return None
    try:
        shape = relayout_shape(stored, place.axes, parameter.axes)
    except ValueError:
        return None
    return (shape[0] * len(place.names), *shape[1:])
