"""What an SE network is: its architecture, its graph, its parameters and its cost. Standard library only."""

from se_spec.architecture import Architecture, StageOutput, config_differences
from se_spec.cost import multiply_adds, parameter_count
from se_spec.errors import ArchitectureError
from se_spec.families.se_densenet.architecture import SEDenseNetArchitecture
from se_spec.families.se_densenet.layers import DenseLayer, Transition
from se_spec.families.se_resnet.architecture import SEResNetArchitecture
from se_spec.families.se_resnet.block import Block
from se_spec.families.se_resnet.config import Shortcut, Squeeze, Stem
from se_spec.graph import Graph, Layer, Node
from se_spec.inputs import expect_features, expect_floating, expect_images
from se_spec.layers import (
    BATCH_NORM_EPSILON,
    BATCH_NORM_MOMENTUM,
    AveragePool,
    BatchNorm,
    BlurPool,
    Convolution,
    MaxPool,
    Role,
)
from se_spec.manifest import Parameter, manifest
from se_spec.named import architecture, create_model_call, list_architectures, named_like
from se_spec.squeeze import EfficientChannelAttention, SqueezeExcitation, eca_kernel, squeezed_channels
from se_spec.version import __version__

__all__ = [
    "BATCH_NORM_EPSILON",
    "BATCH_NORM_MOMENTUM",
    "Architecture",
    "ArchitectureError",
    "AveragePool",
    "BatchNorm",
    "Block",
    "BlurPool",
    "Convolution",
    "DenseLayer",
    "EfficientChannelAttention",
    "Graph",
    "Layer",
    "MaxPool",
    "Node",
    "Parameter",
    "Role",
    "SEDenseNetArchitecture",
    "SEResNetArchitecture",
    "Shortcut",
    "Squeeze",
    "SqueezeExcitation",
    "StageOutput",
    "Stem",
    "Transition",
    "__version__",
    "architecture",
    "config_differences",
    "create_model_call",
    "eca_kernel",
    "expect_features",
    "expect_floating",
    "expect_images",
    "list_architectures",
    "manifest",
    "multiply_adds",
    "named_like",
    "parameter_count",
    "squeezed_channels",
]
