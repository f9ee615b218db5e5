"""Network: what the networks of all families share in Flax NNX."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from numpy.typing import NDArray

from se_flax.layers import dense, identity
from se_spec import Architecture, expect_floating, expect_images


class Network(nnx.Module):
    """A network as its architecture describes it: images (N, H, W, C) to logits (N, num_classes).

    A family's class has `forward_features` and `head`, of which the forward pass consists.

    Args:
        architecture: the configuration of the network.

    Raises:
        ValueError: when called with images of another rank or channel count.
        TypeError: when called with images that are not floating-point.
    """

    preprocessing: Any = None
    """The se_weights.Preprocessing of its images, where it is known from the file of its weights."""

    def __init__(self, architecture: Architecture) -> None:
        self.config = architecture

    def __call__(self, images: Array) -> Array:
        return self.head(self.forward_features(images))

    def predict_logits(self, images: NDArray) -> NDArray:
        """The logits of images as arrays of numpy, in evaluation mode.

        Args:
            images: the images, (N, C, H, W), preprocessed.

        Returns:
            The logits, (N, num_classes), in float32.
        """
        model = nnx.view(self, deterministic=True, use_running_average=True, raise_if_not_found=False)
        return np.asarray(_call(model, jnp.asarray(images.transpose(0, 2, 3, 1))), np.float32)

    def expect(self, images: Array) -> None:
        """Raise ValueError or TypeError unless these are images that the network can take."""
        expect_images(images.shape, "NHWC", self.config.in_channels, self.config.smallest_side)
        expect_floating("the network", jnp.issubdtype(images.dtype, jnp.floating), images.dtype)


@nnx.jit
def _call(model: Network, images: Array) -> Array:
    return model(images)


def classifier(architecture: Architecture, **options: Any) -> Callable[[Array], Array]:
    """The fully connected layer that gives the logits; the identity where the network has no classes.

    Args:
        architecture: the configuration of the network.
        **options: `dtype`, `param_dtype` and `rngs`, as SEResNet takes them.
    """
    if not architecture.num_classes:
        return identity
    return dense(architecture.features, architecture.num_classes, bias=True, **options)


def outputs(classifier: Callable[[Array], Array]) -> int:
    """The number of classes of a classifier; 0 for the identity, and for a head of several layers.

    Args:
        classifier: the classifier of a network, which a user may have replaced.
    """
    return classifier.out_features if isinstance(classifier, nnx.Linear) else 0


def without_values(make: Callable[[nnx.Rngs], Network]) -> Network:
    """The model that a function makes, without the values of its weights.

    Args:
        make: the function, which takes the random numbers of the initial weights.
    """

    def traced() -> Network:
        rngs = nnx.Rngs(0)
        # JAX searches all operations so far for the origin of a traced counter, at every use of it.
        rngs.default.count.set_value(np.zeros((), np.uint32))
        return make(rngs)

    model = nnx.eval_shape(traced)
    rngs = nnx.Rngs(0)
    for _, module in nnx.iter_modules(model):
        if isinstance(module, nnx.Dropout):  # whose random state is not among the weights
            module.rngs = rngs["dropout"].fork()
    return model
