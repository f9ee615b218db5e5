"""Reading and loading the weights of a Flax NNX model, by canonical names."""

from collections.abc import Mapping
from os import PathLike
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray

import se_hub
import se_weights
from se_flax.families import new_model
from se_flax.network import Network, without_values
from se_flax.parts import check_parts
from se_spec import Architecture, Parameter, manifest
from se_weights.dialects import NNX


def read_weights(model: Network) -> dict[str, NDArray]:
    """Copies of the model's weights.

    Args:
        model: the model to read; its classifier may have been replaced by another linear layer.

    Returns:
        An array for each parameter of the architecture's manifest, by canonical name and on canonical axes.

    Raises:
        TypeError: for a model that contains the network, such as a functional Keras model or DistributedDataParallel.
        se_weights.WeightMismatch: with every difference, where another part of the network was replaced.
    """
    if not isinstance(getattr(model, "architecture", None), Architecture):
        kind = type(model).__name__
        raise TypeError(f"{kind} is not a network of se_flax: pass the network that it contains or was built on")
    check_parts(model)
    return _canonical(model.architecture, nnx.state(model))


def read_gradients(model: Network, gradients: nnx.State) -> dict[str, NDArray]:
    """Gradients as canonical arrays.

    Args:
        model: the model that they belong to.
        gradients: the state that `nnx.grad` returns.

    Returns:
        An array for each learned parameter, by canonical name and on canonical axes.
    """
    return _canonical(model.architecture, gradients)


def load_weights(model: Network, weights: Mapping[str, NDArray]) -> None:
    """Copy canonical weights into the model, in its own dtype and on its own device.

    Args:
        model: the model to change.
        weights: an array for each parameter of the architecture's manifest, by canonical name and on canonical axes.

    Raises:
        se_weights.WeightMismatch: with every difference, before anything is changed, unless all weights are there and
            have the right shapes.
    """
    se_weights.check("the mapping", model.architecture, weights)
    check_parts(model)
    places = NNX.places(model.architecture)
    for parameter, variable in _variables(model).items():
        array = se_weights.relayout(np.asarray(weights[parameter.name]), parameter.axes, places[parameter].axes)
        old = variable.get_value()
        values = jnp.asarray(array, old.dtype)
        # Arrays that were placed on devices, or distributed over them, stay there; an abstract model has none.
        placed = isinstance(old, jax.Array) and old.committed
        variable.set_value(jax.device_put(values, old.sharding) if placed else values)


def from_file(
    path: str | PathLike[str],
    *,
    dialect: str | None = None,
    architecture: Architecture | str | None = None,
    prefix: str | None = None,
    num_classes: int | None = None,
) -> Network:
    """The model in a weights file of any format and dialect, in evaluation mode and in float32.

    Args:
        path: a weights file or folder, or an address: "hf://owner/name[@revision][/file]", or one of the catalogue.
        dialect: the dialect to read, where the file fits several; see `se-resnet inspect`.
        architecture: the architecture, or its name, where the file does not tell it.
        prefix: the prefix of the network, in a file that contains several, such as "student".
        num_classes: the number of classes to fine-tune for. Where the file has another number, a new classifier is
            started, and a warning is logged.

    Raises:
        se_weights.WeightsError: what `se_weights.read` raises for files that cannot be read, and `se_hub.fetch` for
            addresses.
    """
    checkpoint = se_hub.read(path, dialect=dialect, architecture=architecture, prefix=prefix)
    return model_of(checkpoint, num_classes)


def model_of(
    checkpoint: se_weights.Checkpoint,
    num_classes: int | None = None,
    *,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    rngs: nnx.Rngs | None = None,
) -> Network:
    """A model with the weights of a checkpoint, as `from_file` returns it.

    Args:
        checkpoint: the weights.
        num_classes: the number of classes, as `from_file` takes it.
        dtype: dtype of the computation; that of images and weights by default.
        param_dtype: dtype of the weights and of the running statistics.
        rngs: random numbers of a new classifier; `nnx.Rngs(0)` by default.
    """
    model = empty_model(checkpoint.architecture, dtype=dtype, param_dtype=param_dtype)
    load_weights(model, checkpoint.weights)
    if num_classes is not None and num_classes != checkpoint.architecture.num_classes:
        se_weights.log_new_classifier(checkpoint, num_classes)
        model = model.reset_classifier(num_classes, rngs=rngs or nnx.Rngs(0))
    model.preprocessing = checkpoint.preprocessing
    model.eval()
    return model


def checkpoint_of(model: Network) -> se_weights.Checkpoint:
    """The model's weights with its architecture.

    Args:
        model: the model to read, as `read_weights` takes it.
    """
    weights = read_weights(model)
    metadata = {"preprocessing": model.preprocessing.text} if model.preprocessing else {}
    return se_weights.Checkpoint(model.architecture, weights, metadata=metadata)


def save(model: Network, path: str | PathLike[str], *, dialect: str | None = None, force: bool = False) -> None:
    """Write the model's weights with its architecture, for `from_file` and the other frameworks.

    Args:
        model: the model to save.
        path: the file or folder to write, whose suffix names the format, such as ".safetensors".
        dialect: the dialect to write, such as "timm"; the first one of the format by default.
        force: whether to overwrite a file that already exists.

    Raises:
        se_weights.WeightsError: what `se_weights.write` raises for files that cannot be written.
    """
    se_weights.write(checkpoint_of(model), path, dialect=dialect, force=force)


def save_pretrained(
    model: Network, folder: str | PathLike[str], *, dialect: str | None = None, licence: str = "", force: bool = False
) -> None:
    """Write a folder to share: weights, a config and a model card, which `from_file`, timm and the hub read.

    Args:
        model: the model to save.
        folder: the folder to write.
        dialect: the dialect to write; timm's where timm has the network.
        licence: the licence of the weights for the card, as the hub spells it, such as "apache-2.0".
        force: whether to overwrite a folder that already exists.

    Raises:
        se_weights.WeightsError: what `se_weights.save_pretrained` raises.
    """
    se_weights.save_pretrained(checkpoint_of(model), folder, dialect=dialect, licence=licence, force=force)


def weight_dtype(model: Network) -> Any:
    """The dtype of a model's weights.

    Args:
        model: the model.
    """
    return next(iter(jax.tree.leaves(nnx.state(model, nnx.Param)))).dtype


def empty_model(architecture: Architecture, **options: Any) -> Network:
    """A model without values, to be filled by `load_weights`: initialising weights only to replace them takes seconds.

    Args:
        architecture: the configuration of the network.
        **options: `dtype` and `param_dtype`, as the networks take them.
    """
    return without_values(lambda rngs: new_model(architecture, rngs=rngs, **options))


def _variables(model: Network) -> dict[Parameter, nnx.Variable]:
    variables = {"/".join(map(str, path)): variable for path, variable in nnx.to_flat_state(nnx.state(model))}
    places = NNX.places(model.architecture)
    return {parameter: variables[places[parameter].names[0]] for parameter in manifest(model.architecture)}


def _canonical(architecture: Architecture, state: nnx.State) -> dict[str, NDArray]:
    """The canonical arrays of those parameters that the state contains."""
    leaves = {"/".join(map(str, path)): variable for path, variable in nnx.to_flat_state(state)}
    return {
        parameter.name: se_weights.relayout(np.asarray(leaves[place.names[0]][...]), place.axes, parameter.axes)
        for parameter, place in NNX.places(architecture).items()
        if place.names[0] in leaves
    }
