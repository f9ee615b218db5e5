"""Block: one residual block with every size worked out. The models translate it and never calculate."""

from dataclasses import dataclass

from se_spec.errors import ArchitectureError
from se_spec.layers import ANTIALIASES, BATCH_NORM_EPSILON, AveragePool, BlurPool, Convolution
from se_spec.squeeze import EfficientChannelAttention, SqueezeExcitation, eca_kernel

EXPANSION = {"basic": 1, "bottleneck": 4}
"""Output channels of a block, as a multiple of its stage's width."""


@dataclass(frozen=True)
class Block:
    """One residual block.

    Attributes:
        kind: "basic" or "bottleneck".
        in_channels: channels of the block's input.
        mid_channels: output channels of a basic block's first 3x3, or of a bottleneck's 3x3.
        out_channels: channels of the block's output.
        stride: stride of the whole block.
        first_channels: output channels of a bottleneck's first 1x1; 0 for `mid_channels`.
        groups: groups of a bottleneck's 3x3.
        stride_in: the convolution of a bottleneck that strides, "conv1" or "conv2".
        dilation: dilation of the last 3x3.
        first_dilation: dilation of the first 3x3, which is the only one of a bottleneck.
        conv_bias: whether the convolutions have biases.
        folded: whether the norms are folded into the convolutions.
        always_projects: whether the shortcut is a convolution even where the identity would fit.
        shortcut_kernel: height and width of the shortcut's convolution.
        shortcut_norm: whether a norm follows that.
        order: "post" where a norm, and a ReLU or the sum, come after each convolution; "pre" where a norm and a ReLU
            come before it, and a shortcut's convolution takes what the first ReLU gives (arXiv 1603.05027).
        shared_norm: whether the second convolution has the norm of the first one.
        antialias: the pool that strides in the place of the block's 3x3, one of ANTIALIASES.
        averages: whether a 2x2 mean before the shortcut's convolution strides in its place.
        squeezed_channels: width of the SE bottleneck; 0 for a block without SE.
        se_bias: whether the SE layer's fully connected layers have biases.
        has_eca: whether it has an ECA layer in the place of the SE layer.
        relu_before_se: whether a ReLU stands between the last norm and the SE layer.
        epsilon: epsilon of the norms.
        drop_path: probability with which the residual of an image is dropped in training.
        stage: number of the stage, from 1, as in `layer3`.
        index: number of the block in its stage, from 0, as in `layer3.0`.
    """

    kind: str
    in_channels: int
    mid_channels: int
    out_channels: int
    stride: int = 1
    first_channels: int = 0
    groups: int = 1
    stride_in: str = "conv2"
    dilation: int = 1
    first_dilation: int = 1
    conv_bias: bool = False
    folded: bool = False
    always_projects: bool = False
    shortcut_kernel: int = 1
    shortcut_norm: bool = True
    order: str = "post"
    shared_norm: bool = False
    antialias: str = "none"
    averages: bool = False
    squeezed_channels: int = 0
    se_bias: bool = False
    has_eca: bool = False
    relu_before_se: bool = False
    epsilon: float = BATCH_NORM_EPSILON
    drop_path: float = 0.0
    stage: int = 1
    index: int = 0

    @property
    def name(self) -> str:
        """The block's canonical path, such as `layer3.0`."""
        return f"layer{self.stage}.{self.index}"

    @property
    def se(self) -> SqueezeExcitation | EfficientChannelAttention | None:
        """The sizes of the SE or ECA layer, or None where the block has neither."""
        if self.has_eca:
            return EfficientChannelAttention(self.out_channels, eca_kernel(self.out_channels))
        if self.squeezed_channels:
            return SqueezeExcitation(self.out_channels, self.squeezed_channels, self.se_bias)
        return None

    @property
    def projects(self) -> bool:
        """Whether the shortcut is a convolution: where the identity would not fit the sum, or always."""
        return self.always_projects or self.stride != 1 or self.in_channels != self.out_channels

    @property
    def aa(self) -> AveragePool | BlurPool | None:
        """The pool that strides after the ReLU of the first 3x3, or None where no pool does."""
        return ANTIALIASES[self.antialias] if self.stride != 1 else None

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        """`conv1`, `conv2` (and a bottleneck's `conv3`) of the residual branch, in the order they are applied."""
        inner, last = self._options(self.folded), self._options(self.folded and self.order == "post")
        stride = 1 if self.aa else self.stride
        if self.kind == "basic":
            return (
                Convolution(self.in_channels, self.mid_channels, 3, stride, dilation=self.first_dilation, **inner),
                Convolution(self.mid_channels, self.out_channels, 3, dilation=self.dilation, **last),
            )
        first_channels = self.first_channels or self.mid_channels
        strides = {"conv1": 1, "conv2": 1} | {self.stride_in: stride}
        return (
            Convolution(self.in_channels, first_channels, 1, strides["conv1"], **inner),
            Convolution(
                *(first_channels, self.mid_channels, 3, strides["conv2"], self.groups),
                dilation=self.first_dilation,
                **inner,
            ),
            Convolution(self.mid_channels, self.out_channels, 1, **last),
        )

    def check_zero_init(self, zero_init_residual: bool) -> None:
        """Raise ArchitectureError where the residual branch is to start at zero, and no norm ends it."""
        if zero_init_residual and self.order == "pre":
            raise ArchitectureError('zero_init_residual is for the order "post": no norm ends a residual branch here')
        if zero_init_residual and self.shared_norm and self.kind == "basic":
            raise ArchitectureError("zero_init_residual needs a last norm; with shared_norms, it is the first one too")

    @property
    def pool(self) -> AveragePool | None:
        """The mean before the shortcut's projection, or None where there is none."""
        return AveragePool() if self.averages else None

    @property
    def projection(self) -> Convolution | None:
        """The convolution of the shortcut, or None where the shortcut is the identity."""
        if not self.projects:
            return None
        stride = 1 if self.averages else self.stride
        sizes = self.in_channels, self.out_channels, self.shortcut_kernel, stride
        return Convolution(*sizes, **self._options(self.folded and self.shortcut_norm))

    def _options(self, folded: bool) -> dict[str, bool]:
        """Whether a convolution has a bias, and whether the norm after it is folded into it."""
        return {"bias": self.conv_bias or folded, "folded": folded}
