"""The class of each family's networks in PyTorch."""

from typing import Any

import se_spec
from se_torch.network import Network
from se_torch.se_densenet import SEDenseNet
from se_torch.se_resnet import SEResNet

NETWORKS: dict[str, type[Network]] = {"se_resnet": SEResNet, "se_densenet": SEDenseNet}
"""The class of each family's networks."""


def new_model(architecture: se_spec.Architecture, **options: Any) -> Network:
    """The network of an architecture, freshly initialised.

    Args:
        architecture: the configuration of the network.
        **options: further arguments of the class in NETWORKS.
    """
    return NETWORKS[architecture.family](architecture, **options)
