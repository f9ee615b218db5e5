"""Network: what the networks of all families share in PyTorch."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.fx
from numpy.typing import NDArray
from torch import Tensor, nn

from se_spec import Architecture, expect_floating, expect_images
from se_torch.layers import dense, identity

torch.fx.wrap("expect_images")
torch.fx.wrap("expect_floating")
torch.fx.wrap("expect_dtype")


class Network(nn.Module):
    """A network as its architecture describes it: images (N, C, H, W) to logits (N, num_classes).

    A family's class has `forward_features` and `head`, of which the forward pass consists.

    Args:
        architecture: the configuration of the network.

    Raises:
        ValueError: when called with images of another rank or channel count.
        TypeError: when called with images of another dtype than the weights'.
    """

    preprocessing: Any = None
    """The se_weights.Preprocessing of its images, where it is known from the file of its weights."""

    # TorchScript would compile every property.
    __jit_unused_properties__ = ("architecture",)

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.config = architecture
        self.register_state_dict_post_hook(add_architecture)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As in torch; the error for a state dict of another network names the function that reads more files."""
        try:
            return super().load_state_dict(state_dict, strict, assign)
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n\tse_torch.from_file(path) reads the files of other code bases.") from error

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.forward_features(images))

    def predict_logits(self, images: NDArray) -> NDArray:
        """The logits of images as arrays of numpy, in evaluation mode.

        Args:
            images: the images, (N, C, H, W), preprocessed.

        Returns:
            The logits, (N, num_classes), in float32.
        """
        weight = next(self.parameters())
        training = [module for module in self.modules() if module.training]
        self.eval()
        try:
            with torch.inference_mode():
                logits = self(torch.from_numpy(images).to(weight.device, weight.dtype))
        finally:
            for module in training:
                module.training = True
        return logits.float().numpy(force=True)

    def expect(self, images: Tensor) -> None:
        """Raise ValueError or TypeError unless these are images that the network can take."""
        expect_images(images.shape, "NCHW", self.config.in_channels, self.config.smallest_side)
        expect_floating("the network", images.is_floating_point(), images.dtype)
        expect_dtype(images, self.weight_dtype())

    def weight_dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return next(self.parameters()).dtype


def expect_dtype(images: Tensor, expected: torch.dtype) -> None:
    """Raise TypeError unless images have the dtype of the weights, or are cast to another one by autocast.

    Args:
        images: the images.
        expected: the dtype of the weights.
    """
    if images.dtype != expected and not torch.is_autocast_enabled(images.device.type):
        raise TypeError(f"the network expects images of the dtype of its weights, {expected}: got {images.dtype}")


def add_architecture(model: Network, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
    """Puts the architecture into the metadata of a state dict, which torch.save keeps: a hook of `state_dict()`.

    Args:
        model: the network whose `state_dict()` was called.
        state: its state dict, which is not changed.
        prefix: the path of the network in the model that is saved; not used.
        metadata: of this module in the state dict, to which the architecture is added.
    """
    metadata["architecture"] = model.architecture.to_dict()


def classifier(architecture: Architecture) -> nn.Module:
    """The fully connected layer that gives the logits; the identity where the network has no classes.

    Args:
        architecture: the configuration of the network.
    """
    if not architecture.num_classes:
        return identity()
    return dense(architecture.features, architecture.num_classes, bias=True)


def outputs(classifier: nn.Module) -> int:
    """The number of classes of a classifier; 0 for the identity, and for a head of several layers.

    Args:
        classifier: the classifier of a network, which a user may have replaced.
    """
    return classifier.out_features if isinstance(classifier, nn.Linear) else 0
