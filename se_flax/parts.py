"""Checks that a model still consists of the parts of its architecture: users replace layers of NNX models."""

from functools import cache
from typing import Any

from flax import nnx

import se_weights
from se_flax.se_resnet import SEResNet
from se_spec import Architecture

SETTINGS: dict[type[nnx.Module], tuple[str, ...]] = {
    nnx.Conv: ("kernel_size", "strides", "padding", "kernel_dilation", "feature_group_count"),
    nnx.BatchNorm: ("epsilon",),
}
"""The settings of Flax's layers that change what they compute."""


def check_parts(model: SEResNet) -> None:
    """Check that every part is of the class, and has the settings, that the architecture describes.

    Args:
        model: the model to check.

    Raises:
        se_weights.WeightMismatch: a line for each part that is missing, unexpected or another one.
    """
    expected, found = _expected_parts(model.architecture), _parts(model)
    missing = [f"- {path}" for path in expected if path not in found]
    unexpected = [f"+ {path}" for path in found if path not in expected]
    changed = [
        f"! {path} expected {expected[path]}, found {part}"
        for path, part in found.items()
        if path in expected and part != expected[path]
    ]
    if differences := missing + unexpected + changed:
        raise se_weights.WeightMismatch(
            f"parts of the model are not those of {model.architecture.name}; to leave out a head of several layers, "
            "call reset_classifier(0)",
            differences,
        )


@cache
def _expected_parts(architecture: Architecture) -> dict[str, str]:
    return _parts(nnx.eval_shape(lambda: SEResNet(architecture, rngs=nnx.Rngs(0))))


def _parts(model: SEResNet) -> dict[str, str]:
    """A description of each part of a model by its path, apart from those that do nothing in evaluation mode."""
    parts: dict[str, str] = {}
    for keys, module in nnx.iter_modules(model):
        path = ".".join(map(str, keys))
        if keys and not isinstance(module, nnx.List | nnx.Dropout):
            kind = next((kind for kind in SETTINGS if isinstance(module, kind)), type(module))
            parts[path] = f"{kind.__name__}{_settings(module, kind)}"
        for name, value in vars(module).items():
            if callable(value) and not isinstance(value, nnx.Module) and name in FUNCTIONS:
                parts[f"{path}.{name}".removeprefix(".")] = repr(value)
    return parts


FUNCTIONS = ("act", "se", "pool", "maxpool", "fc", "bn1", "bn2", "bn3")
"""The attributes of our modules that may be a function instead of a layer."""


def _settings(module: nnx.Module, kind: type[Any]) -> dict[str, Any]:
    return {name: getattr(module, name) for name in SETTINGS.get(kind, ())}
