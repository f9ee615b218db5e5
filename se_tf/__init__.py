"""SELayer, ECALayer, SE-ResNet and SE-DenseNet in Keras 3."""

from se_tf import optimizers as optimizers
from se_tf.eca_layer import ECALayer
from se_tf.inference import fold_batchnorm, optimize_for_inference
from se_tf.preactivation import SEPreActBasicBlock, SEPreActBottleneck
from se_tf.registry import create_model, list_models
from se_tf.se_densenet import SEDenseBlock, SEDenseLayer, SEDenseNet, SETransition
from se_tf.se_layer import SELayer
from se_tf.se_resnet import SEBasicBlock, SEBottleneck, SEResNet
from se_tf.weights import from_file, load_weights, model_of, read_weights, save, save_pretrained

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
