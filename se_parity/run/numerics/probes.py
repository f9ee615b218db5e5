"""What a framework's arithmetic really is, whatever its settings say: a few numbers that only full precision gives.

TF32 keeps 10 bits of an operand and bfloat16 7, so 1.0001 becomes 1; a thousand of them then add up to the number of
terms, where float32 gives a tenth more (the example of TensorFlow's documentation of TF32).
"""

from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

OPERAND = np.float32(1.0001)

ROUNDED = 5e-5
"""Relative: a probe that is further off has rounded its operands, which alone takes 1e-4. A thousand equal numbers
added up one after another in float32 are off by 1e-5 (TensorFlow does so), in blocks by less."""

DENORMAL = np.float32(1e-40)


class Arithmetic(Protocol):
    """The operations of a framework in float32; images are (N, C, H, W), kernels (O, I, kH, kW), without margins."""

    def multiply(self, a: NDArray, b: NDArray) -> NDArray: ...
    def convolve(self, images: NDArray, kernel: NDArray) -> NDArray: ...
    def scale(self, a: NDArray, factor: float) -> NDArray: ...


@dataclass(frozen=True)
class Probe:
    """A matrix product and a convolution of 1.0001 with ones, beside what full float32 gives; whether numbers below
    the smallest normal one are kept; and whether the same convolution gives the same bits twice."""

    product: float
    product_expected: float
    convolution: float
    convolution_expected: float
    keeps_denormals: bool
    repeats: bool

    @property
    def full_precision(self) -> bool:
        pairs = (self.product, self.product_expected), (self.convolution, self.convolution_expected)
        return all(abs(found / expected - 1) <= ROUNDED for found, expected in pairs)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "full_precision": self.full_precision}


def probe(arithmetic: Arithmetic) -> Probe:
    """Ask a framework for each number."""
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
