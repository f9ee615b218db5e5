"""What an SE-ResNet is: its architecture, its parameters and its cost. Standard library only."""

from se_spec.architecture import (
    BATCH_NORM_EPSILON,
    BATCH_NORM_MOMENTUM,
    Architecture,
    ArchitectureError,
    Block,
    Convolution,
    MaxPool,
    squeezed_channels,
)
from se_spec.cost import multiply_adds, parameter_count
from se_spec.inputs import expect_features, expect_floating, expect_images
from se_spec.manifest import Parameter, Role, manifest
from se_spec.named import architecture, list_architectures
from se_spec.version import __version__

__all__ = [
    "BATCH_NORM_EPSILON",
    "BATCH_NORM_MOMENTUM",
    "Architecture",
    "ArchitectureError",
    "Block",
    "Convolution",
    "MaxPool",
    "Parameter",
    "Role",
    "__version__",
    "architecture",
    "expect_features",
    "expect_floating",
    "expect_images",
    "list_architectures",
    "manifest",
    "multiply_adds",
    "parameter_count",
    "squeezed_channels",
]
