"""The named networks in Flax NNX, fresh or with published weights."""

from fnmatch import fnmatchcase
from typing import Any

import jax.numpy as jnp
from flax import nnx

import se_hub
import se_spec
from se_flax.families import new_model
from se_flax.network import Network
from se_flax.weights import model_of


def create_model(
    name: str,
    *,
    pretrained: bool | str = False,
    zero_init_residual: bool = False,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    rngs: nnx.Rngs | None = None,
    **config: Any,
) -> Network:
    """The named network, freshly initialised or with published weights.

    Args:
        name: one of `list_models()`.
        pretrained: True for the network's default published weights, or their name, such as "a1_in1k"; see `se-resnet
            list --pretrained`. They are downloaded the first time, and the model has their settings (biases of SE
            layers, ...) and is in evaluation mode. Another number of classes starts a new classifier, and another
            number of image channels adapts the stem; warnings are logged. Other settings must be those of the weights.
        zero_init_residual: start the residual branch of every block at zero (arXiv 1706.02677, section 5.1).
        dtype: dtype of the computation, such as `jnp.bfloat16`; that of images and weights by default.
        param_dtype: dtype of the weights and of the running statistics.
        rngs: the random numbers of the initial weights and of dropout; `nnx.Rngs(0)` by default.
        **config: settings that replace the named network's own; its Architecture in se_spec describes each in full.
            num_classes, in_channels: of the logits and of the images; without classes (0), pooled features.
            depths, widths: blocks and width of each stage, one to four of them; block: "basic" or "bottleneck".
            se: whether the blocks have SE layers; reduction, se_bias: the ratio r and the biases of these layers.
            squeeze: "floor" (C / r), "round8" or "constant", or "eca"; or a dictionary, also with `after_relu`.
            stem: "7x7", "3x3" or a dictionary of `kernel`, `inner`, `width`, `stride`, `pool` and `norm`.
            shortcut: a dictionary of `kernel`, `averages`, `where` and `norm`.
            groups, base_width, reduce_first: of the 3x3 convolutions of ResNeXt, wide ResNet and SENet-154.
            stride_in: the convolution of a bottleneck that strides, "conv2" or "conv1".
            antialias: the pool that strides in the place of convolutions, "none", "mean" or "blur".
            output_stride, dilates_first: 16 or 8 to dilate stages in the place of their strides, for segmentation.
            order: whether norm and ReLU come after each convolution of a block, "post", or before it, "pre".
            final_norm, input_norm: a norm after the last block, and one before the stem.
            conv_bias, bn_epsilon: biases of the convolutions, and epsilon of their norms.
            dropout: the share of the pooled features that is dropped in training.
            drop_path: the probability with which the last block's residual is dropped in training.
            folded: whether the norms are folded into the convolutions, for inference.
            Of SE-DenseNets, beside num_classes, in_channels, reduction, se_bias, bn_epsilon and folded:
            block_config, growth_rate, num_init_features: layers of each block; channels of a layer and of the stem.
            compression, bn_size: of the transitions and of the bottlenecks.
            stem: "7x7", "3x3" or "3x3_norm"; small_inputs=True is "3x3".
            se_places: where SE layers stand, some of "stem", "block", "input", "layer", "concat", "transition", "last".
            transition_pool, new_first, final_relu: how odd sides are halved, the order of features, the last ReLU.
            drop_rate: the probability with which a new feature is dropped in training.
            memory_efficient: whether features are computed again for the backward pass.

    Raises:
        se_spec.ArchitectureError: for an unknown name, an unknown field or an impossible value, and for weights that do
            not exist or have other settings.
        se_weights.WeightsError: what `se_hub.fetch` raises, where weights cannot be downloaded.
    """
    options = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs or nnx.Rngs(0)}
    if pretrained:
        checkpoint = se_hub.read_pretrained(name, pretrained, config, zero_init_residual=zero_init_residual)
        return model_of(checkpoint, config.get("num_classes"), **options)
    architecture = se_spec.architecture(name, **config)
    return new_model(architecture, **architecture.initial_options(zero_init_residual), **options)


def list_models(pattern: str = "*") -> list[str]:
    """The names that `create_model` accepts.

    Args:
        pattern: a shell pattern, such as "se_resnext*".
    """
    return [name for name in se_spec.list_architectures() if fnmatchcase(name, pattern)]
