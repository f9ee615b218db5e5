"""The layers of the networks in PyTorch: convolution, batch norm, pools, dense and identity, from specifications."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

import se_spec


class MaxPool(nn.Module):
    """A max-pool of (N, C, H, W) with the alignment of its specification, padded with minus infinity.

    Args:
        spec: kernel, stride and alignment. Its padding may be larger after a side than before, and may depend on
            whether the side is odd; torch's own is always the same on both ends.
    """

    def __init__(self, spec: se_spec.MaxPool) -> None:
        super().__init__()
        self.spec = spec
        self.kernel, self.stride = spec.kernel, spec.stride
        (self.before_even, self.after), (self.before_odd, _) = spec.padding(0), spec.padding(1)

    def extra_repr(self) -> str:
        return self.spec.alignment

    def forward(self, x: Tensor) -> Tensor:
        top, left = self.before(x.shape[2]), self.before(x.shape[3])
        padded = functional.pad(x, (left, self.after, top, self.after), value=float("-inf"))
        return functional.max_pool2d(padded, self.kernel, self.stride)

    def before(self, side: int) -> int:
        """The padding before a side, in arithmetic that TorchScript and torch.export follow for sides of any size."""
        return self.before_even + (self.before_odd - self.before_even) * (side % 2)


class BlurPool(nn.Module):
    """The binomial mean of each window of (N, C, H, W), of stride 2, padded by reflection (arXiv 1904.11486).

    Args:
        spec: weights along an axis, and stride.
    """

    def __init__(self, spec: se_spec.BlurPool) -> None:
        super().__init__()
        self.spec = spec
        self.weights, self.stride = spec.weights, spec.stride

    def forward(self, x: Tensor) -> Tensor:
        x = functional.pad(x, (1, 1, 1, 1), mode="reflect")
        first, middle, last = self.weights
        x = (
            first * x[:, :, : -2 : self.stride]
            + middle * x[:, :, 1 : -1 : self.stride]
            + last * x[:, :, 2 :: self.stride]
        )
        return (
            first * x[:, :, :, : -2 : self.stride]
            + middle * x[:, :, :, 1 : -1 : self.stride]
            + last * x[:, :, :, 2 :: self.stride]
        )


class DropPath(nn.Module):
    """Drops the residuals (N, C, H, W) of some images in training, and scales the others up.

    Args:
        rate: the probability with which the residual of an image is dropped.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def extra_repr(self) -> str:
        return f"p={self.rate}"

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * functional.dropout(x.new_ones([x.shape[0], 1, 1, 1]), self.rate)


class EmptyLinear(nn.Linear):
    """A linear layer with no inputs or no outputs, as in an SE layer of an empty squeeze; torch's own warns of that."""

    def reset_parameters(self) -> None:
        """Start the bias at zero; there are no weights."""
        if self.bias is not None and self.out_features:
            nn.init.zeros_(self.bias)


class ChannelConvolution(nn.Conv1d):
    """A convolution over the channels of vectors (N, C), padded with zeros (ECA-Net, arXiv 1910.03151, eq. 9).

    Weights start uniform within 1 / sqrt(kernel), as in torch.

    Args:
        kernel: number of neighbouring channels that a value is computed from, an odd number.
    """

    def __init__(self, kernel: int) -> None:
        super().__init__(1, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.unsqueeze(1)).squeeze(1)


def convolution(spec: se_spec.Convolution) -> nn.Conv2d:
    """A convolution with symmetric padding, He-normal by fan-out (arXiv 1502.01852); biases start at zero.

    Args:
        spec: channels, kernel, stride and groups, and whether it has a bias.
    """
    layer = nn.Conv2d(
        spec.in_channels,
        spec.out_channels,
        spec.kernel,
        stride=spec.stride,
        padding=spec.paddings,
        dilation=spec.dilation,
        groups=spec.groups,
        bias=spec.bias,
    )
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if spec.bias:
        nn.init.zeros_(layer.bias)
    return layer


def batch_norm(spec: se_spec.Convolution, epsilon: float, *, zero_init: bool = False) -> nn.Module:
    """The batch norm after a convolution, or the identity where it is folded; `zero_init` starts its gain at zero.

    Args:
        spec: the convolution before the norm; a folded one has no norm.
        epsilon: added to the variance before its square root is taken.
        zero_init: whether the gain starts at zero instead of one.

    Raises:
        ArchitectureError: `zero_init` for a norm that is folded.
    """
    spec.check_zero_init(zero_init)
    if spec.folded:
        return identity()
    return norm(spec.out_channels, epsilon, zero_init=zero_init)


def norm(channels: int, epsilon: float, *, zero_init: bool = False) -> nn.BatchNorm2d:
    """A batch norm; `zero_init` starts its gain at zero.

    Args:
        channels: channels of its input.
        epsilon: added to the variance before its square root is taken.
        zero_init: whether the gain starts at zero instead of one.
    """
    layer = nn.BatchNorm2d(channels, eps=epsilon, momentum=se_spec.BATCH_NORM_MOMENTUM)
    nn.init.constant_(layer.weight, 0.0 if zero_init else 1.0)
    return layer


def optional_norm(spec: se_spec.BatchNorm | None) -> nn.Module:
    """A batch norm, or the identity where there is none.

    Args:
        spec: channels, epsilon and whether it has a gain; None for the identity.
    """
    if not spec:
        return identity()
    layer = norm(spec.channels, spec.epsilon)
    if not spec.gamma:
        layer.register_parameter("weight", None)
    return layer


def relu(applied: bool) -> nn.Module:
    """A ReLU where a network has one; else the identity.

    Args:
        applied: whether it has one.
    """
    return nn.ReLU() if applied else identity()


def can_overwrite(*norms: nn.Module) -> bool:
    """Whether the outputs of batch norms can be overwritten: no gradient needs them, and no hook has seen them.

    Args:
        norms: the layers; any other kind may return its input, which is needed elsewhere.
    """
    hooked = bool(nn.modules.module._global_forward_hooks)
    for layer in norms:
        hooked = hooked or type(layer) is not nn.BatchNorm2d or bool(layer._forward_hooks)
    return not (hooked or torch.is_grad_enabled())


@contextmanager
def kept_statistics(layer: nn.BatchNorm2d) -> Iterator[None]:
    """Keeps the running statistics of a batch norm as they are while it is called in training.

    Args:
        layer: the batch norm.
    """
    momentum, batches = layer.momentum, layer.num_batches_tracked
    layer.momentum, layer.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        layer.momentum, layer.num_batches_tracked = momentum, batches


def max_pool(spec: se_spec.MaxPool | None) -> nn.Module:
    """The stem's max-pool, padded with minus infinity; the identity where there is none.

    Args:
        spec: kernel, stride and alignment; None for the identity.
    """
    if not spec:
        return identity()
    if not spec.symmetric:
        return MaxPool(spec)
    return nn.MaxPool2d(spec.kernel, spec.stride, spec.padding(0)[0])  # needs no padded copy


def average_pool(spec: se_spec.AveragePool | None) -> nn.Module:
    """An average pool, at an odd end of fewer values or without them; the identity where there is none.

    Args:
        spec: kernel, stride and how it rounds; None for the identity.
    """
    if not spec:
        return identity()
    return nn.AvgPool2d(spec.kernel, spec.stride, ceil_mode=spec.ceil, count_include_pad=False)


def antialias(spec: se_spec.AveragePool | se_spec.BlurPool | None) -> nn.Module:
    """The pool that strides in the place of a convolution; the identity where there is none.

    Args:
        spec: a mean or a blur; None for the identity.
    """
    return BlurPool(spec) if isinstance(spec, se_spec.BlurPool) else average_pool(spec)


def drop_path(rate: float) -> nn.Module:
    """Stochastic depth (arXiv 1603.09382): drops the residuals of some images in training, and scales the others up.

    Args:
        rate: the probability with which the residual of an image is dropped; at 0 the layer is the identity.
    """
    return DropPath(rate) if rate else identity()


def dense(inputs: int, outputs: int, bias: bool) -> nn.Linear:
    """A fully connected layer; weights start uniform within 1 / sqrt(inputs), as in torch, biases at zero.

    Args:
        inputs: features of its input (N, inputs).
        outputs: features of its output (N, outputs).
        bias: whether it has a bias.
    """
    if not inputs * outputs:
        return EmptyLinear(inputs, outputs, bias=bias)
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.kaiming_uniform_(layer.weight, a=5**0.5)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def identity() -> nn.Module:
    """A layer that returns its input."""
    return nn.Identity()
