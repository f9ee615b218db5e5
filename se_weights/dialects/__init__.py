"""Other people's names and layouts, a small file a family. The three frameworks are dialects too."""

from se_weights.dialects.dialect import Dialect, Place
from se_weights.dialects.flax import LINEN, NNX
from se_weights.dialects.keras import KERAS
from se_weights.dialects.timm import TIMM
from se_weights.dialects.torch import TORCH

DIALECTS = {dialect.name: dialect for dialect in (TORCH, TIMM, KERAS, NNX, LINEN)}

__all__ = ["DIALECTS", "KERAS", "LINEN", "NNX", "TIMM", "TORCH", "Dialect", "Place"]
