"""DenseLayer and Transition: the parts of an SE-DenseNet with every size worked out. The models translate them."""

from dataclasses import dataclass

from se_spec.layers import AveragePool, Convolution
from se_spec.squeeze import SqueezeExcitation


@dataclass(frozen=True)
class DenseLayer:
    """One layer of a dense block: it computes new features from all features before it (arXiv 1608.06993, section 3).

    Attributes:
        in_channels: channels of the features before it, concatenated.
        growth_rate: channels of its new features.
        mid_channels: channels between its two convolutions.
        folded: whether the second norm is folded into the first convolution; the first one follows a concatenation.
        epsilon: epsilon of the norms.
        se_places: where it has SE layers, some of "input", "layer" and "concat".
        reduction: the reduction ratio of the SE layers.
        se_bias: whether their fully connected layers have biases.
        drop_rate: probability with which a new feature is dropped in training.
        new_first: whether the new features come before the others.
        memory_efficient: whether the input of the 3x3 convolution is computed again for the backward pass.
        stage: number of the block, from 1.
        index: number of the layer in its block, from 0.
    """

    in_channels: int
    growth_rate: int
    mid_channels: int
    folded: bool
    epsilon: float
    se_places: tuple[str, ...]
    reduction: int
    se_bias: bool
    drop_rate: float
    new_first: bool
    memory_efficient: bool
    stage: int
    index: int

    @property
    def name(self) -> str:
        """The layer's canonical path, such as `features.denseblock1.denselayer2`."""
        return f"features.denseblock{self.stage}.denselayer{self.index + 1}"

    @property
    def out_channels(self) -> int:
        """Channels of the features before it and of its new ones together."""
        return self.in_channels + self.growth_rate

    @property
    def conv1(self) -> Convolution:
        """The 1x1 convolution to `mid_channels`."""
        return Convolution(self.in_channels, self.mid_channels, 1, bias=self.folded, folded=self.folded)

    @property
    def conv2(self) -> Convolution:
        """The 3x3 convolution to the new features."""
        return Convolution(self.mid_channels, self.growth_rate, 3)

    @property
    def se_input(self) -> SqueezeExcitation | None:
        """The SE layer of the concatenated features before the first norm; the next layer takes them without it."""
        return self._se("input", self.in_channels)

    @property
    def se(self) -> SqueezeExcitation | None:
        """The SE layer of the new features."""
        return self._se("layer", self.growth_rate)

    @property
    def se_concat(self) -> SqueezeExcitation | None:
        """The SE layer of all features after it, old and new, which the next layer takes."""
        return self._se("concat", self.out_channels)

    def _se(self, place: str, channels: int) -> SqueezeExcitation | None:
        if place not in self.se_places:
            return None
        return SqueezeExcitation(channels, channels // self.reduction, self.se_bias)


@dataclass(frozen=True)
class Transition:
    """The layers between two dense blocks, which halve height and width (arXiv 1608.06993, section 3).

    Attributes:
        in_channels: channels of its input.
        out_channels: channels of its output.
        ceil: whether its pool averages what exists of an odd last row or column, instead of leaving it out.
        epsilon: epsilon of its norm.
        has_se: whether it has an SE layer, before the norm.
        reduction: the reduction ratio of the SE layer.
        se_bias: whether its fully connected layers have biases.
        stage: number of the block before it, from 1.
    """

    in_channels: int
    out_channels: int
    ceil: bool
    epsilon: float
    has_se: bool
    reduction: int
    se_bias: bool
    stage: int

    @property
    def name(self) -> str:
        """Its canonical path, such as `features.transition1`."""
        return f"features.transition{self.stage}"

    @property
    def pool(self) -> AveragePool:
        """Its average pool."""
        return AveragePool(ceil=self.ceil)

    @property
    def se(self) -> SqueezeExcitation | None:
        """The sizes of its SE layer, or None where it has none."""
        if not self.has_se:
            return None
        return SqueezeExcitation(self.in_channels, self.in_channels // self.reduction, self.se_bias)

    @property
    def conv(self) -> Convolution:
        """The 1x1 convolution."""
        return Convolution(self.in_channels, self.out_channels, 1)
