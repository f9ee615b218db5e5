"""Every tolerance of the suite with its derivation. Tests compare with these and no others."""

from se_parity.judge.limits import FLOAT64_SHARE

FLOAT64_LOGITS = FLOAT64_SHARE
"""Of the logits' range: the project's contract. Measured: at most 4e-15 on every named architecture."""

REFERENCES = 1e-13
"""Of the largest value of a tensor, between the reference that runs the graph and the one written by hand. Measured: no
difference, since they compute the same operations in the same order."""

SAME_OPERATIONS = 1e-13
"""Of the largest value of a tensor, after training steps in float64 of two models in one framework that compute the
same operations in the same order. Measured: at most 5e-16."""

FLOAT32_LOGITS = 1e-5
"""Of the logits' range: the contract at 224x224, in addition to the limit that se_parity derives for each network."""

FLOAT32_ONE_LAYER = 5e-7
"""Of the output's range, for an SELayer of 12 channels: 3 sqrt(12 / 2) 2**-24 is 4.4e-7. Measured: at most 7.2e-8."""

FLOAT32_STATISTICS = 1e-5
"""Of the largest statistic, after one batch: a mean over a few hundred float32 values and two roundings."""

BFLOAT16_LOGITS = 0.05
"""Of the logits' range, for se_resnet18: bfloat16 keeps 8 bits (2**-9 a rounding), and 20 layers add up."""

INITIAL_DEVIATION = 0.03
"""Relative error of the standard deviation of the initial weights: 1 / sqrt(2 n) is at most 0.008 for n >= 8,192, so
this is about four standard deviations of the estimate."""

FLOAT32_STEP = {"rtol": 1e-4, "atol": 1e-5}
"""Elementwise, for weights and statistics after one training step under two compilers. With a batch of two, the norms
divide by standard deviations of a few values a channel, which multiplies rounding errors by up to a thousand."""

FINITE_DIFFERENCES = 1e-7
"""Of the largest gradient: a central difference with a step of 1e-6 loses ten of the 16 digits of a loss, and its own
error is the square of the step. Measured: at most 2e-9."""

TWO_LIBRARIES = 4e-15
"""Of the largest value, for one operation in float64 in numpy and in torch: 36 products, summed in another order, round
36 times by up to 2**-53. Measured: at most 4e-16."""
