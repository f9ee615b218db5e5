"""Weights into and out of a Flax NNX model, by canonical name."""

from collections.abc import Mapping
from os import PathLike
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray

import se_weights
from se_flax.se_resnet import SEResNet, dropout
from se_spec import Architecture, Parameter, manifest
from se_weights.dialects import NNX


def read_weights(model: SEResNet) -> dict[str, NDArray]:
    """Copies of the model's weights by canonical name, on canonical axes."""
    return _canonical(model.architecture, nnx.state(model))


def read_gradients(model: SEResNet, gradients: nnx.State) -> dict[str, NDArray]:
    """Gradients as the framework gives them for what the model learns, by canonical name, on canonical axes."""
    return _canonical(model.architecture, gradients)


def load_weights(model: SEResNet, weights: Mapping[str, NDArray]) -> None:
    """Copy canonical weights into the model, in its own dtype and on its own device.

    Raises se_weights.WeightMismatch, with the whole list, and changes nothing, unless they are all there and fit.
    """
    se_weights.check("the mapping", model.architecture, weights)
    places = NNX.places(model.architecture)
    for parameter, variable in _variables(model).items():
        array = se_weights.relayout(np.asarray(weights[parameter.name]), parameter.axes, places[parameter].axes)
        variable.set_value(jnp.asarray(array, variable.get_value().dtype))


def from_file(
    path: str | PathLike[str], *, dialect: str | None = None, architecture: Architecture | str | None = None
) -> SEResNet:
    """The model in a weights file of any format and dialect, in evaluation mode and in float32."""
    checkpoint = se_weights.read(path, dialect=dialect, architecture=architecture)
    model = empty_model(checkpoint.architecture)
    load_weights(model, checkpoint.weights)
    model.eval()
    return model


def empty_model(architecture: Architecture, **options: Any) -> SEResNet:
    """A model of shapes alone, to be filled by `load_weights`; drawing weights only to replace them takes seconds."""
    model = nnx.eval_shape(lambda: SEResNet(architecture, rngs=nnx.Rngs(0), **options))
    model.dropout = dropout(architecture, nnx.Rngs(0))  # its random state is no weight that could be loaded
    return model


def _variables(model: SEResNet) -> dict[Parameter, nnx.Variable]:
    variables = {"/".join(map(str, path)): variable for path, variable in nnx.to_flat_state(nnx.state(model))}
    places = NNX.places(model.architecture)
    return {parameter: variables[places[parameter].names[0]] for parameter in manifest(model.architecture)}


def _canonical(architecture: Architecture, state: nnx.State) -> dict[str, NDArray]:
    """The arrays of those parameters that the state has."""
    leaves = {"/".join(map(str, path)): variable for path, variable in nnx.to_flat_state(state)}
    return {
        parameter.name: se_weights.relayout(np.asarray(leaves[place.names[0]][...]), place.axes, parameter.axes)
        for parameter, place in NNX.places(architecture).items()
        if place.names[0] in leaves
    }
