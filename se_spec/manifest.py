"""The manifest: canonical name, role, axes and shape of every parameter of an architecture.

The canonical names are the field's own (torchvision's ResNet plus `se.fc1` and `se.fc2`), so a file that uses them
loads into PyTorch unchanged. Everything that names, stores, converts or counts weights is a join on this list.
"""

from dataclasses import dataclass

from se_spec.architecture import Architecture
from se_spec.graph import LayerPosition
from se_spec.layers import Role, Shape

CANONICAL_WORDS = {
    Role.CONVOLUTION: ("weight", "OIHW"),
    Role.CONVOLUTION_BIAS: ("bias", "O"),
    Role.GAMMA: ("weight", "C"),
    Role.BETA: ("bias", "C"),
    Role.MEAN: ("running_mean", "C"),
    Role.VARIANCE: ("running_var", "C"),
    Role.GATE: ("weight", "OI"),
    Role.GATE_BIAS: ("bias", "O"),
    Role.CHANNEL_CONVOLUTION: ("weight", "OIW"),
    Role.CLASSIFIER: ("weight", "OI"),
    Role.CLASSIFIER_BIAS: ("bias", "O"),
}
"""The leaf name of the canonical name, and the canonical axes, of each role."""


def canonical_name(module: str, role: Role) -> str:
    """The canonical name of a parameter, such as `layer3.0.conv2.weight`.

    Args:
        module: the canonical path of the layer that owns it.
        role: what it does in that layer.
    """
    return f"{module}.{CANONICAL_WORDS[role][0]}"


@dataclass(frozen=True, kw_only=True)
class Parameter(LayerPosition):
    """One array of weights or of running statistics, and the position of the layer that owns it.

    Attributes:
        module: the canonical path of the layer that owns it, such as `layer3.0.conv2`.
        role: what it does in that layer.
        shape: its canonical shape.
    """

    module: str
    role: Role
    shape: Shape = ()

    @property
    def name(self) -> str:
        """The canonical name, such as `layer3.0.conv2.weight`."""
        return canonical_name(self.module, self.role)

    @property
    def axes(self) -> str:
        """One letter for each axis: O and I output and input channels, H and W the kernel's sides, C the channels."""
        return CANONICAL_WORDS[self.role][1]


def manifest(architecture: Architecture) -> tuple[Parameter, ...]:
    """Every parameter of the architecture.

    Returns:
        The parameters in the order in which the network applies them.
    """
    return tuple(
        Parameter(
            position.layer, position.stage, position.index, position.number, module=node.path, role=role, shape=shape
        )
        for node in architecture.graph.nodes
        if (position := node.position)
        for role, shape in node.operation.parameters
    )
