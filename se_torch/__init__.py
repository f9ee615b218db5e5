"""SELayer, ECALayer, SE-ResNet and SE-DenseNet in PyTorch."""

from se_torch.eca_layer import ECALayer
from se_torch.inference import fold_batchnorm, optimize_for_inference
from se_torch.preactivation import SEPreActBasicBlock, SEPreActBottleneck
from se_torch.registry import create_model, list_models
from se_torch.se_densenet import SEDenseBlock, SEDenseLayer, SEDenseNet, SETransition
from se_torch.se_layer import SELayer
from se_torch.se_resnet import SEBasicBlock, SEBottleneck, SEResNet
from se_torch.weights import from_file, load_weights, model_of, read_weights, save, save_pretrained

__all__ = [
    "ECALayer",
    "SEBasicBlock",
    "SEBottleneck",
    "SEDenseBlock",
    "SEDenseLayer",
    "SEDenseNet",
    "SELayer",
    "SEPreActBasicBlock",
    "SEPreActBottleneck",
    "SEResNet",
    "SETransition",
    "create_model",
    "fold_batchnorm",
    "from_file",
    "list_models",
    "load_weights",
    "model_of",
    "optimize_for_inference",
    "read_weights",
    "save",
    "save_pretrained",
]
