"""How far an output may be from the truth, derived for one network, its weights and its images.

In float64 the limit is the project's own (DESIGN, section 5). In float32 it is what float32 rounding does to this
network: every operation of the oracle is disturbed as rounding would disturb it, and the largest movement of a logit
is the limit. A sum of n products, added up one after another, is off by u sqrt(n / 2) times its size, where u is half
a unit in the last place (Higham and Mary, A New Approach to Probabilistic Rounding Error Analysis, 2019, for the
square root; each partial sum is rounded once). Frameworks add in blocks, so they stay below it.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from se_parity.compare import logit_range
from se_parity.oracle import Array, Oracle
from se_spec import Architecture

FLOAT64_SHARE = 1e-11
"""Of the logits' range; three orders above what float64 rounding does here, four below what float32 does."""

FLOAT32_ROUNDOFF = 2.0**-24

DRAWS = 4
"""Independent draws of the simulated rounding."""

DEVIATIONS = 3.0
"""Every error is drawn this many times as large as the estimate above, which is one standard deviation of it."""


def float32_share(
    architecture: Architecture, weights: Mapping[str, NDArray], images: NDArray, truth: Array, seed: int = 0
) -> float:
    """The largest movement of a logit under simulated float32 rounding, as a share of the logits' range."""
    movements = []
    for draw in range(DRAWS):
        rng = np.random.default_rng([seed, draw])

        def rounded(path: str, output: Array, rng: np.random.Generator = rng) -> Array:
            kernel = weights.get(f"{path}.weight")
            terms = np.prod(kernel.shape[1:]) if kernel is not None and kernel.ndim > 1 else 1
            size = np.sqrt(np.mean(output**2)) if terms > 1 else np.abs(output)
            scale = DEVIATIONS * FLOAT32_ROUNDOFF * np.sqrt(max(terms / 2, 1)) * size
            return output + scale * rng.standard_normal(output.shape)

        movements.append(np.abs(Oracle(architecture, weights, observe=rounded).logits(images) - truth).max())
    return float(max(movements) / logit_range(truth))
