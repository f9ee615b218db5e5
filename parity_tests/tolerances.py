"""Every tolerance of the suite, with how it was derived. Tests compare with these and nothing else."""

from se_parity.limits import FLOAT64_SHARE

FLOAT64_LOGITS = FLOAT64_SHARE
"""Of the logits' range: the project's contract. Measured: at most 4e-15 on every named architecture."""

FLOAT32_LOGITS = 1e-5
"""Of the logits' range: the contract at 224x224, beside the limit that se_parity derives for each network."""

FLOAT32_ONE_LAYER = 2e-6
"""Of the output's range, for one layer of at most 512 products a sum: 3 sqrt(512 / 2) 2**-24 is 2.9e-6, over a range
of several deviations. Measured: at most 4e-7."""

FLOAT32_BLOCKS = 1e-5
"""Of a block's output range. Measured: at most 2e-6 on the two networks whose blocks are compared."""

FLOAT32_STATISTICS = 1e-5
"""Of the largest statistic, after one batch: a mean over a few hundred float32 values and two roundings."""

BFLOAT16_LOGITS = 0.05
"""Of the logits' range, for se_resnet18: bfloat16 keeps 8 bits (2**-9 a rounding), and 20 layers add up."""

INITIAL_DEVIATION = 0.03
"""Relative error of the standard deviation of the initial weights: 1 / sqrt(2 n) is at most 0.008 for n >= 8,192, so
this is about four deviations of the estimate."""
