"""Describes the parts that a model consists of: users replace layers of NNX models."""

from functools import cache

from flax import nnx

import se_weights
from se_flax.families import new_model
from se_flax.layers import MaxPool, identity
from se_flax.network import Network, without_values
from se_spec import Architecture

SETTINGS: dict[type[nnx.Module], tuple[str, ...]] = {
    nnx.Conv: (
        *("in_features", "out_features", "kernel_size", "strides", "padding"),
        *("input_dilation", "kernel_dilation", "feature_group_count", "use_bias"),
    ),
    nnx.Linear: ("in_features", "out_features", "use_bias"),
    nnx.BatchNorm: ("num_features", "epsilon", "use_bias", "use_scale"),
    MaxPool: ("spec",),
}
"""The settings of layers that change what they compute in evaluation mode."""

DROPOUTS = ("dropout", "drop_path")
"""The attributes of our modules that do nothing in evaluation mode."""

FUNCTIONS = (
    *(
        *DROPOUTS,
        "aa",
        "act",
        "se",
        "pool",
        "maxpool",
        "fc",
        "bn0",
        "bn1",
        "bn2",
        "bn3",
        "bn4",
        "relu1",
        "norm",
        "relu",
    ),
    *("norm0", "relu0", "pool0", "se0", "se_input", "norm2", "se_concat", "se5", "relu5", "classifier"),
    *(f"{name}{number}" for name in ("se_block", "transition") for number in (1, 2, 3, 4)),
)
"""The attributes of our modules that may be a function instead of a layer."""


def check_parts(model: Network) -> None:
    """Check that every part is of the class, and has the settings, that the architecture describes.

    Args:
        model: the model to check.

    Raises:
        se_weights.WeightMismatch: a line for each part that is missing, unexpected or another one.
    """
    se_weights.check_parts(model.architecture, _expected_parts(model.architecture), _parts(model))


@cache
def _expected_parts(architecture: Architecture) -> dict[str, str]:
    return _parts(without_values(lambda rngs: new_model(architecture, rngs=rngs)))


def _parts(model: Network) -> dict[str, str]:
    """A description of each part by its path, apart from dropout, which does nothing in evaluation mode."""
    parts: dict[str, str] = {}
    for keys, module in nnx.iter_modules(model):
        path = ".".join(map(str, keys))
        if keys and not isinstance(module, nnx.List | nnx.Dropout):
            parts[path] = _describe(module)
        for name in FUNCTIONS:
            function = vars(module).get(name)
            if (
                callable(function)
                and not isinstance(function, nnx.Module)
                and not (name in DROPOUTS and function is identity)
            ):
                parts[f"{path}.{name}".removeprefix(".")] = repr(function)
    return parts


def _describe(module: nnx.Module) -> str:
    kind = next((kind for kind in SETTINGS if isinstance(module, kind)), type(module))
    settings = ", ".join(f"{name}={getattr(module, name)!r}" for name in SETTINGS.get(kind, ()))
    return f"{kind.__name__}({settings})"
