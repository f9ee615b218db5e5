"""The named networks in Keras 3."""

from fnmatch import fnmatchcase
from typing import Any

import se_spec
from se_tf.se_resnet import SEResNet


def create_model(name: str, *, zero_init_residual: bool = False, dtype: Any = None, **config: Any) -> SEResNet:
    """The named network, freshly initialised.

    Args:
        name: one of `list_models()`.
        zero_init_residual: start the residual branch of every block at zero (arXiv 1706.02677, section 5.1).
        dtype: dtype policy of all layers, such as "mixed_bfloat16"; Keras's own by default.
        **config: fields of se_spec.Architecture that replace the named network's own, such as `num_classes`,
            `in_channels`, `stem`, `reduction` and `se_bias`.

    Raises:
        se_spec.ArchitectureError: for an unknown name, an unknown field or an impossible value.
    """
    return SEResNet(se_spec.architecture(name, **config), zero_init_residual=zero_init_residual, dtype=dtype)


def list_models(pattern: str = "*") -> list[str]:
    """The names that `create_model` accepts.

    Args:
        pattern: a shell pattern, such as "se_resnext*".
    """
    return [name for name in se_spec.list_architectures() if fnmatchcase(name, pattern)]
