"""The networks for `torch.hub.load("owner/se-resnet", "se_resnet50", pretrained=True)`, in PyTorch."""

from functools import partial

from se_torch import create_model, from_file, list_models

__all__ = ["create_model", "from_file", *list_models()]

dependencies = ["torch", "numpy", "h5py", "msgpack", "ml_dtypes", "safetensors"]

globals().update({name: partial(create_model, name) for name in list_models()})
