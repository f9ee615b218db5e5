"""Probes that measure a framework's precision, whatever its settings are: sums that only full float32 gets right.

TF32 keeps 10 bits of an operand and bfloat16 7, so 1.0001 becomes 1. The sum of 1024 such products is then 1024, and
1024.1 in float32 (the example of TensorFlow's documentation of TF32).
"""

from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

OPERAND = np.float32(1.0001)

MAX_RELATIVE_ERROR = 5e-5
"""The largest relative error of full float32. Rounding the operands causes an error of 1e-4; summing a thousand equal
numbers one after another in float32, as TensorFlow does, causes 1e-5."""

DENORMAL = np.float32(1e-40)


class Arithmetic(Protocol):
    """A framework's float32 operations; images are (N, C, H, W), kernels (O, I, kH, kW), and padding is none."""

    def multiply(self, a: NDArray, b: NDArray) -> NDArray:
        """The matrix product.

        Args:
            a: (M, K).
            b: (K, N).
        """

    def convolve(self, images: NDArray, kernel: NDArray) -> NDArray:
        """The convolution at stride 1 without padding.

        Args:
            images: (N, C, H, W).
            kernel: (O, C, kH, kW).
        """

    def scale(self, a: NDArray, factor: float) -> NDArray:
        """The product of an array and a number.

        Args:
            a: of any shape.
            factor: the number.
        """


@dataclass(frozen=True)
class Probe:
    """What a framework computes in float32.

    Attributes:
        product: a matrix product of 1.0001 with ones.
        product_expected: its value in full float32.
        convolution: a convolution of 1.0001 with ones.
        convolution_expected: its value in full float32.
        keeps_denormals: whether numbers below the smallest normal one are not flushed to zero.
        repeats: whether the same convolution gives the same bits twice.
    """

    product: float
    product_expected: float
    convolution: float
    convolution_expected: float
    keeps_denormals: bool
    repeats: bool

    @property
    def full_precision(self) -> bool:
        pairs = (self.product, self.product_expected), (self.convolution, self.convolution_expected)
        return all(abs(measured / expected - 1) <= MAX_RELATIVE_ERROR for measured, expected in pairs)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "full_precision": self.full_precision}


def probe(arithmetic: Arithmetic) -> Probe:
    """Run the probes in a framework, through its module in se_parity.run.numerics."""
    terms, channels, side = 1024, 128, 3
    row, column = np.full((1, terms), OPERAND), np.ones((terms, 1), np.float32)
    image = np.full((1, channels, side, side), OPERAND)
    kernel = np.ones((channels, channels, side, side), np.float32)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, channels, 9, 12)).astype(np.float32)
    kernels = rng.normal(size=kernel.shape).astype(np.float32)
    return Probe(
        product=float(arithmetic.multiply(row, column)[0, 0]),
        product_expected=float(OPERAND) * terms,
        convolution=float(arithmetic.convolve(image, kernel)[0, 0, 0, 0]),
        convolution_expected=float(OPERAND) * channels * side**2,
        keeps_denormals=bool(arithmetic.scale(np.full(64, DENORMAL), 0.5).min() > 0),
        repeats=np.array_equal(arithmetic.convolve(images, kernels), arithmetic.convolve(images, kernels)),
    )
