"""The operations that networks are described with: their parameters, the size of their outputs, and their cost.

A shape is that of one image without the batch: (C, H, W) of a feature map, (C,) of a vector. A side is the height or
the width of a feature map, in pixels.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import prod

from se_spec.errors import ArchitectureError

Shape = tuple[int, ...]

BATCH_NORM_EPSILON = 1e-5
"""Added to the variance before its square root is taken (torchvision, the Caffe default)."""

BATCH_NORM_MOMENTUM = 0.1
"""Weight of the new batch in the running statistics (torch's convention; Keras and Flax write 1 minus it)."""

ALIGNMENTS = ("pad1", "ceil", "same")
"""How the windows of the stem's 3x3 max-pool are aligned, which changes every feature and no name or shape:

`pad1`: padded by one on every side, first window at -1 (torchvision, timm). `ceil`: no padding before, and after only
what the last window needs, first window at 0 (Caffe, Cadene). `same`: as TensorFlow pads, like `ceil` on even sides and
like `pad1` on odd ones.
"""


class Role(StrEnum):
    """What a parameter does. A dialect has one leaf name and one axis order for each role."""

    CONVOLUTION = "convolution"
    CONVOLUTION_BIAS = "convolution bias"
    GAMMA = "gamma"
    BETA = "beta"
    MEAN = "mean"
    VARIANCE = "variance"
    GATE = "gate"
    GATE_BIAS = "gate bias"
    CHANNEL_CONVOLUTION = "channel convolution"
    CLASSIFIER = "classifier"
    CLASSIFIER_BIAS = "classifier bias"

    @property
    def learned(self) -> bool:
        """Whether the optimiser updates it; the running statistics are measured instead."""
        return self not in (Role.MEAN, Role.VARIANCE)


NORM_ROLES = (Role.GAMMA, Role.BETA, Role.MEAN, Role.VARIANCE)
"""The parameters of a norm, in the order in which every framework lists them."""

BIAS_ROLES = {Role.GATE: Role.GATE_BIAS, Role.CLASSIFIER: Role.CLASSIFIER_BIAS}
"""The bias of a dense layer, by the role of its weight."""


@dataclass(frozen=True)
class Operation:
    """An operation of a network; by default without parameters, of one input, whose shape it keeps."""

    @property
    def parameters(self) -> tuple[tuple[Role, Shape], ...]:
        """The role and the canonical shape of each of its parameters."""
        return ()

    def output(self, *inputs: Shape) -> Shape:
        """The shape of its output.

        Args:
            *inputs: the shape of each of its inputs.
        """
        return inputs[0]

    def multiply_adds(self, *inputs: Shape) -> int:
        """Its multiply-adds for one image.

        Args:
            *inputs: the shape of each of its inputs.
        """
        return 0


Pair = int | tuple[int, int]
"""A setting of both axes, or one of the height and one of the width."""


def pair(setting: Pair) -> tuple[int, int]:
    """The setting of the height and that of the width."""
    return setting if isinstance(setting, tuple) else (setting, setting)


@dataclass(frozen=True)
class Convolution(Operation):
    """A convolution of a feature map, by default padded so that stride 1 keeps the size.

    Attributes:
        in_channels: channels of its input.
        out_channels: channels of its output.
        kernel: height and width of the kernel.
        stride: of height and width.
        groups: groups of channels that are convolved separately.
        bias: whether it has a bias.
        folded: whether the norm that follows is folded into its kernel and bias.
        dilation: distance of the values that neighbouring weights of the kernel see.
        padding: zeros on each side of height and width; by default half of what the kernel spans, rounded down.
    """

    in_channels: int
    out_channels: int
    kernel: Pair
    stride: Pair = 1
    groups: int = 1
    bias: bool = False
    folded: bool = False
    dilation: Pair = 1
    padding: Pair | None = None

    @property
    def paddings(self) -> tuple[int, int]:
        """Zeros on each side of the height, and on each side of the width."""
        if self.padding is not None:
            return pair(self.padding)
        height, width = self.spans
        return height // 2, width // 2

    @property
    def spans(self) -> tuple[int, int]:
        """Height and width of the window that a value of the output is computed from."""
        height, width = (
            dilation * (side - 1) + 1 for side, dilation in zip(pair(self.kernel), pair(self.dilation), strict=True)
        )
        return height, width

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the kernel, on the axes OIHW; a group sees its share of the inputs only."""
        return self.out_channels, self.in_channels // self.groups, *pair(self.kernel)

    @property
    def parameters(self) -> tuple[tuple[Role, Shape], ...]:
        kernel = (Role.CONVOLUTION, self.shape)
        return (kernel, (Role.CONVOLUTION_BIAS, (self.out_channels,))) if self.bias else (kernel,)

    def output(self, *inputs: Shape) -> Shape:
        sizes = zip(inputs[0][1:], self.paddings, self.spans, pair(self.stride), strict=True)
        return self.out_channels, *((side + 2 * zeros - span) // stride + 1 for side, zeros, span, stride in sizes)

    def multiply_adds(self, *inputs: Shape) -> int:
        return prod(self.shape) * prod(self.output(*inputs)[1:])

    def check_zero_init(self, zero_init: bool) -> None:
        """Raise ArchitectureError where its norm is to start at zero, and that norm is folded away."""
        if zero_init and self.folded:
            raise ArchitectureError("zero_init_residual starts the gains of norms at zero, and these norms are folded")


@dataclass(frozen=True)
class BatchNorm(Operation):
    """A batch norm (arXiv 1502.03167) with the running statistics of its channels.

    Attributes:
        channels: channels of its input.
        epsilon: added to the variance before its square root is taken.
        gamma: whether it has a gain.
    """

    channels: int
    epsilon: float
    gamma: bool = True

    @property
    def parameters(self) -> tuple[tuple[Role, Shape], ...]:
        return tuple((role, (self.channels,)) for role in NORM_ROLES if self.gamma or role is not Role.GAMMA)


@dataclass(frozen=True)
class Dense(Operation):
    """A fully connected layer from a vector to a vector.

    Attributes:
        inputs: features of its input.
        outputs: features of its output.
        bias: whether it has a bias.
        role: of its weight: GATE or CLASSIFIER.
    """

    inputs: int
    outputs: int
    bias: bool
    role: Role

    @property
    def parameters(self) -> tuple[tuple[Role, Shape], ...]:
        weight = (self.role, (self.outputs, self.inputs))
        return (weight, (BIAS_ROLES[self.role], (self.outputs,))) if self.bias else (weight,)

    def output(self, *inputs: Shape) -> Shape:
        return (self.outputs,)

    def multiply_adds(self, *inputs: Shape) -> int:
        return self.inputs * self.outputs


@dataclass(frozen=True)
class MaxPool(Operation):
    """A 3x3 max-pool of stride 2, padded with minus infinity.

    Attributes:
        alignment: where its windows begin, one of ALIGNMENTS.
        kernel: height and width of a window.
        stride: stride of both axes.
    """

    alignment: str = "pad1"
    kernel: int = 3
    stride: int = 2

    @property
    def symmetric(self) -> bool:
        """Whether the padding is the same on both ends of a side, whatever its size."""
        return self.alignment == "pad1"

    def padding(self, side: int) -> tuple[int, int]:
        """Padding before and after a side; padding that no window reaches changes nothing."""
        before = {"pad1": 1, "ceil": 0, "same": side % 2}[self.alignment]
        return before, 1

    def side(self, side: int) -> int:
        """The output's side, from the input's."""
        return (sum(self.padding(side)) + side - self.kernel) // self.stride + 1

    def output(self, *inputs: Shape) -> Shape:
        channels, height, width = inputs[0]
        return channels, self.side(height), self.side(width)


@dataclass(frozen=True)
class AveragePool(Operation):
    """The mean of each window, by default of 2x2 values, of stride 2, and at an odd end of the values that exist.

    Attributes:
        kernel: height and width of a window.
        stride: stride of both axes.
        padding: zeros on each side of each axis.
        ceil: whether the last window may reach beyond the padded input (ResNet-D, arXiv 1812.01187); else values that
            fill no window are left out (DenseNet, arXiv 1608.06993).
        count_include_pad: whether the mean counts the padding.
    """

    kernel: int = 2
    stride: int = 2
    padding: int = 0
    ceil: bool = True
    count_include_pad: bool = False

    def side(self, side: int) -> int:
        """The output's side, from the input's; a window begins in the input or in the padding before it."""
        padded = side + 2 * self.padding
        windows = (padded - self.kernel + (self.stride - 1 if self.ceil else 0)) // self.stride + 1
        return windows - 1 if self.ceil and (windows - 1) * self.stride >= side + self.padding else windows

    def output(self, *inputs: Shape) -> Shape:
        channels, height, width = inputs[0]
        return channels, self.side(height), self.side(width)


@dataclass(frozen=True)
class BlurPool(Operation):
    """The binomial mean of each 3x3 window, of stride 2, padded by reflection (arXiv 1904.11486).

    The weights of a window are 1 2 1 over 4 along each axis. Both sides of its input are at least 2.

    Attributes:
        weights: the weights along an axis.
        stride: stride of both axes.
    """

    weights: tuple[float, float, float] = (0.25, 0.5, 0.25)
    stride: int = 2

    def side(self, side: int) -> int:
        """The output's side, from the input's."""
        return (side - 1) // self.stride + 1

    def output(self, *inputs: Shape) -> Shape:
        channels, height, width = inputs[0]
        return channels, self.side(height), self.side(width)

    def multiply_adds(self, *inputs: Shape) -> int:
        return prod(self.output(*inputs)) * len(self.weights) ** 2


ANTIALIASES: dict[str, AveragePool | BlurPool | None] = {"none": None, "mean": AveragePool(), "blur": BlurPool()}
"""The pools that stride in the place of a convolution, by name: a 2x2 mean, as in timm's `resnetaa`, or a blur."""


@dataclass(frozen=True)
class MeanOverSpace(Operation):
    """The mean of each channel over height and width: the squeeze of an SE layer, and the pool before a classifier."""

    def output(self, *inputs: Shape) -> Shape:
        return inputs[0][:1]


@dataclass(frozen=True)
class ReLU(Operation):
    """The larger of a value and zero."""


@dataclass(frozen=True)
class Sigmoid(Operation):
    """1 / (1 + exp(-x)) of each value x."""


@dataclass(frozen=True)
class MaxOverSpace(Operation):
    """The maximum of each channel over height and width: a squeeze (paper, table 11)."""

    def output(self, *inputs: Shape) -> Shape:
        return inputs[0][:1]


@dataclass(frozen=True)
class ChannelConvolution(Operation):
    """A 1-D convolution over the channels of a vector, which keeps their number (ECA, arXiv 1910.03151, eq. 9).

    Attributes:
        kernel: number of neighbouring channels that a value is computed from, an odd number.
    """

    kernel: int

    @property
    def parameters(self) -> tuple[tuple[Role, Shape], ...]:
        return ((Role.CHANNEL_CONVOLUTION, (1, 1, self.kernel)),)

    def multiply_adds(self, *inputs: Shape) -> int:
        return self.kernel * prod(inputs[0])


@dataclass(frozen=True)
class ReLU6(Operation):
    """A value limited to the range from 0 to 6."""


@dataclass(frozen=True)
class Tanh(Operation):
    """The hyperbolic tangent of each value."""


@dataclass(frozen=True)
class Softmax(Operation):
    """exp(x) of each value x of a vector, divided by their sum."""


@dataclass(frozen=True)
class Identity(Operation):
    """Its input."""


@dataclass(frozen=True)
class Concat(Operation):
    """The channels of several feature maps of one height and width, one after the other."""

    def output(self, *inputs: Shape) -> Shape:
        return sum(channels for channels, *_ in inputs), *inputs[0][1:]


@dataclass(frozen=True)
class Split(Operation):
    """Some neighbouring channels.

    Attributes:
        start: the first one.
        stop: the one after the last.
    """

    start: int
    stop: int

    def output(self, *inputs: Shape) -> Shape:
        return self.stop - self.start, *inputs[0][1:]


@dataclass(frozen=True)
class ChannelShuffle(Operation):
    """The first channel of every group, then the second one of every group, and so on (arXiv 1707.01083, figure 1).

    Attributes:
        groups: number of groups of neighbouring channels.
    """

    groups: int


@dataclass(frozen=True)
class Scale(Operation):
    """A feature map times a vector of gates, one for each channel.

    Its multiply-adds are those of an SE layer beside its fully connected layers, as the paper counts them (section 4):
    for each value one multiplication here, and one addition in the squeeze that the gates were computed from.
    """

    def multiply_adds(self, *inputs: Shape) -> int:
        return 2 * prod(inputs[0])


@dataclass(frozen=True)
class Add(Operation):
    """The sum of two feature maps."""


@dataclass(frozen=True)
class Dropout(Operation):
    """In training, drops values with a probability and scales the others up; in evaluation, the identity.

    Attributes:
        rate: the probability.
        images: whether the values of an image are dropped together (stochastic depth, arXiv 1603.09382).
    """

    rate: float
    images: bool = False
