"""Reading and loading the weights of a Keras model, by canonical names."""

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any

import keras
import numpy as np
from keras import KerasTensor
from numpy.typing import NDArray

import se_hub
import se_weights
from se_spec import Architecture, Parameter, manifest
from se_tf.families import new_model
from se_tf.network import Network
from se_weights.dialects.keras import LEAF_NAMES, variable_path


def read_weights(model: Network) -> dict[str, NDArray]:
    """Copies of the model's weights.

    Returns:
        An array for each parameter of the architecture's manifest, by canonical name and on canonical axes.

    Raises:
        TypeError: for a model that contains the network, such as a functional Keras model or DistributedDataParallel.
    """
    if not isinstance(getattr(model, "architecture", None), Architecture):
        raise TypeError(
            f"{type(model).__name__} is not a network of se_tf: pass the network that it contains or was built on; of "
            "a network that was cloned by clone_model, copy.deepcopy makes a copy that is one"
        )
    return {parameter.name: _canonical(parameter, variable) for parameter, variable in _variables(model).items()}


def read_gradients(model: Network, gradients: Iterable[KerasTensor]) -> dict[str, NDArray]:
    """Gradients as canonical arrays.

    Args:
        model: the model that they belong to.
        gradients: one gradient for each of `model.trainable_variables`, in that order.

    Returns:
        An array for each learned parameter, by canonical name and on canonical axes.
    """
    parameters = {variable.path: parameter for parameter, variable in _variables(model).items()}
    owners = (parameters[variable.path] for variable in model.trainable_variables)
    return {
        parameter.name: _canonical(parameter, gradient) for parameter, gradient in zip(owners, gradients, strict=True)
    }


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
    for parameter, variable in _variables(model).items():
        array = se_weights.relayout(np.asarray(weights[parameter.name]), parameter.axes, LEAF_NAMES[parameter.role][1])
        variable.assign(array.astype(variable.dtype, copy=False))


def from_file(
    path: str | PathLike[str],
    *,
    dialect: str | None = None,
    architecture: Architecture | str | None = None,
    prefix: str | None = None,
    num_classes: int | None = None,
) -> Network:
    """The model in a weights file of any format and dialect, with Keras's own dtype policy.

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


def model_of(checkpoint: se_weights.Checkpoint, num_classes: int | None = None, *, dtype: Any = None) -> Network:
    """A model with the weights of a checkpoint, as `from_file` returns it.

    Args:
        checkpoint: the weights.
        num_classes: the number of classes, as `from_file` takes it.
        dtype: dtype policy of all layers; Keras's own by default.
    """
    model = new_model(checkpoint.architecture, dtype=dtype)
    load_weights(model, checkpoint.weights)
    if num_classes is not None and num_classes != checkpoint.architecture.num_classes:
        se_weights.log_new_classifier(checkpoint, num_classes)
        model = model.reset_classifier(num_classes)
    model.preprocessing = checkpoint.preprocessing
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


def _canonical(parameter: Parameter, tensor: KerasTensor) -> NDArray:
    return se_weights.relayout(keras.ops.convert_to_numpy(tensor), LEAF_NAMES[parameter.role][1], parameter.axes)


def _variables(model: Network) -> dict[Parameter, keras.Variable]:
    """The model's variable for each parameter; the variables of metrics and optimisers are not among them."""
    by_path = {variable.path: variable for layer in model.layers for variable in layer.variables}
    architecture = model.architecture
    return {parameter: by_path[variable_path(parameter, architecture)] for parameter in manifest(architecture)}
