"""The names and hidden config of each code base, one file for each. Our three frameworks are dialects too."""

from se_weights.dialects.cadene import CADENE, MONAI
from se_weights.dialects.densenets import (
    CLASSYVISION,
    DENSENET_TUTORIAL,
    GPLEISS,
    KUANGLIU,
    TORCHVISION_2017,
    ZHOUYUANGAN,
)
from se_weights.dialects.dialect import Dialect, Place
from se_weights.dialects.flax import LINEN, NNX
from se_weights.dialects.keras import KERAS, KERAS_H5
from se_weights.dialects.keras2 import QUBVEL, TFIMM
from se_weights.dialects.keras_applications import KERAS_APPLICATIONS, KERAS_APPLICATIONS_H5
from se_weights.dialects.pytorchcv import PYTORCHCV, PYTORCHCV_B
from se_weights.dialects.timm import TIMM
from se_weights.dialects.torch import TORCH
from se_weights.dialects.torchvision_like import (
    MMPRETRAIN_2020,
    MMPRETRAIN_NOW,
    MOSKOMULE,
    NVIDIA,
    VGGFACE2_PORT,
    WEIAICUNZAI,
)
from se_weights.dialects.tutorials import CIFAR_TUTORIAL, MIRACLEWKF, TORCH_BACKBONES

DIALECTS = {
    dialect.name: dialect
    for dialect in (
        TORCH,
        TIMM,
        CADENE,
        MONAI,
        PYTORCHCV,
        PYTORCHCV_B,
        MOSKOMULE,
        MMPRETRAIN_NOW,
        MMPRETRAIN_2020,
        NVIDIA,
        VGGFACE2_PORT,
        WEIAICUNZAI,
        TORCHVISION_2017,
        GPLEISS,
        DENSENET_TUTORIAL,
        KUANGLIU,
        ZHOUYUANGAN,
        CLASSYVISION,
        CIFAR_TUTORIAL,
        MIRACLEWKF,
        TORCH_BACKBONES,
        KERAS,
        KERAS_H5,
        KERAS_APPLICATIONS,
        KERAS_APPLICATIONS_H5,
        QUBVEL,
        TFIMM,
        NNX,
        LINEN,
    )
}
"""All dialects by name. If several interpret a file in the same way, the first one is reported."""

__all__ = ["DIALECTS", "KERAS", "LINEN", "NNX", "TORCH", "Dialect", "Place"]
